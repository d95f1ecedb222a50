#pragma once

#include <memory>

#include "comm/communicator.h"

namespace bertdist {

// All ranks, as MpiSession::world makes them, but with tensors on CUDA devices, of which this rank takes its own. A job
// of one process without a launcher needs neither MPI nor NCCL. Collective. Throws Error(device) where a rank has no
// device of its own.
std::unique_ptr<Communicator> make_nccl_world(const MpiSession& session, const CommunicatorOptions& options);

}  // namespace bertdist
