#pragma once

#include "config/config.h"

namespace bertdist {

// Throws Error(device) where this build does not fit this machine, unless device = "cpu" was asked for: a build for
// CPUs on a machine with an NVIDIA GPU, or where one was asked for, or a build for NVIDIA GPUs where there is none.
// Asks the driver, which takes a moment where there is one.
void require_fitting_device(const Config& config);

// Where it fits: whether the model is to be on a GPU. device = "auto" takes one in a build for GPUs.
bool computes_on_gpu(const Config& config);

}  // namespace bertdist
