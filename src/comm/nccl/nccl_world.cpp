#include "comm/nccl/nccl_world.h"

#include "comm/launch_environment.h"
#include "comm/nccl/nccl_communicator.h"

namespace bertdist {

std::unique_ptr<Communicator> make_nccl_world(const MpiSession& session, const CommunicatorOptions& options) {
  if (!session.connects_ranks()) {
    take_cuda_device(/*local_rank=*/0);
    return session.world(options);
  }
  std::unique_ptr<Communicator> world = NcclCommunicator::of_world(MPI_COMM_WORLD, options);
  require_world_size(read_launch_environment(), world->world_size());
  return world;
}

}  // namespace bertdist
