#pragma once

#include "job.h"

namespace bertdist {

// What makes the communicator of a job: over NCCL where it computes on CUDA devices, otherwise over MPI, or of one
// process. Only a build for GPUs has NCCL; in others `on_gpu` is an Error(device).
MakeWorld world_on_device(bool on_gpu);

}  // namespace bertdist
