// The conformance suite over MPI and NCCL. Takes one GPU a rank; the stand-in has eight.
#include "comm/communicator_suite.h"
#include "comm/device_memory.h"
#include "comm/nccl/nccl_communicator.h"

namespace bertdist {
namespace {

#ifdef BERTDIST_NCCL_STAND_IN
constexpr bool kSumsInRankOrder = true;
#else
constexpr bool kSumsInRankOrder = false;
#endif

std::unique_ptr<Communicator> make(const CommunicatorOptions& options) {
  return NcclCommunicator::of_world(MPI_COMM_WORLD, options);
}

void with_device_memory(Communicator& communicator, Buffer buffer, const std::function<void(Buffer)>& call) {
  const TestStream stream;
  DeviceCopy copy(buffer, stream);
  call(copy.buffer());
  communicator.synchronize("test");
  copy.fetch();
}

const Subject kHostMemory{.name = "NCCL, host memory", .make = make};
const Subject kDeviceMemory{.name = "NCCL, device memory",
                            .make = make,
                            .with_memory = with_device_memory,
                            .sums_in_rank_order = kSumsInRankOrder,
                            .rounds_sums_once = false};

INSTANTIATE_TEST_SUITE_P(HostMemory, CommunicatorTest,
                         testing::Combine(testing::Values(kHostMemory), testing::Values(0, 1000)));
INSTANTIATE_TEST_SUITE_P(DeviceMemory, CommunicatorTest,
                         testing::Combine(testing::Values(kDeviceMemory), testing::Values(0, 1, 2, 5, 1000, 1 << 20)));

}  // namespace
}  // namespace bertdist
