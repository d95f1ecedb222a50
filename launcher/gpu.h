#pragma once

#include <string>

#include "comm/communicator.h"

namespace bertdist {

// The CUDA device that a rank computes on, which its communicator has taken for it.
struct Gpu {
  int index = 0;     // among those that the process sees
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int major = 0;     // compute capability: the lowest of all ranks' devices, so that all compute alike
  int minor = 0;
};

// Collective. Throws Error(device) in a build for CPUs.
Gpu find_gpu(Communicator& communicator);

}  // namespace bertdist
