#include "torch_setup.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/one_process_communicator.h"

namespace bertdist {
namespace {

template <typename TorchError>
std::optional<ExitCode> code_of(const std::string& message) {
  const Config config;
  OneProcessCommunicator communicator;
  const LaunchEnvironment launch;
  const Log log(0, 1);
  const Job job{config, communicator, launch, log, 1};
  try {
    without_trace(job, [&]() -> int { throw TorchError({"f", "f.cpp", 1}, message); });
  } catch (const Error& error) {
    return error.code();
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(error.what(), "libtorch: " + message);
  }
  return std::nullopt;
}

TEST(TorchErrors, MemoryThatRanOutIsToldFromMemoryThatIsNotOnesOwn) {
  EXPECT_EQ(code_of<c10::OutOfMemoryError>("CUDA: no more"), ExitCode::device);
  EXPECT_EQ(code_of<c10::Error>("DefaultCPUAllocator: can't allocate memory: you tried"), ExitCode::device);
  EXPECT_EQ(code_of<c10::Error>("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), ExitCode::device);
  EXPECT_EQ(code_of<c10::Error>("CUDA error: an illegal memory access was encountered"), std::nullopt);
  EXPECT_EQ(code_of<c10::Error>("sizes do not match"), std::nullopt);
}

}  // namespace
}  // namespace bertdist
