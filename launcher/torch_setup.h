#pragma once

#include <c10/core/ScalarType.h>

#include "job.h"

namespace bertdist {

// How many threads libtorch's operators use in this process.
void use_threads(int num_threads);

// Collective. What the configuration's `dtype` means on these ranks' processors: float32 or bfloat16. "auto" is
// bfloat16 where every rank's processor has instructions for it.
at::ScalarType forward_dtype(const Job& job);

}  // namespace bertdist
