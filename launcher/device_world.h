#pragma once

#include "job.h"

namespace bertdist {

// What makes the communicator of a job that computes where `config.device` says: over NCCL on CUDA devices, otherwise
// over MPI, or of one process. Only a build for GPUs has NCCL; in others device = "cuda" is an Error(device).
MakeWorld world_on_device_of(const Config& config);

}  // namespace bertdist
