#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include "job.h"
#include "train/frozen_features.h"

namespace bertdist {

// How many threads libtorch's operators use in this process.
void use_threads(int num_threads);

// Collective. What the configuration's `dtype` means on these ranks' processors: float32 or bfloat16. "auto" is
// bfloat16 where every rank's processor has instructions for it.
at::ScalarType forward_dtype(const Job& job);
// Collective, as forward_dtype is.
FrozenPassOptions frozen_pass_options(const Job& job);

// What `function` returns. libtorch's errors carry a trace of its own stack, which tells a user nothing: they come out
// without it, and as Error(device) where memory ran out.
[[noreturn]] void rethrow_without_trace(const c10::Error& error);
template <typename Function>
auto without_trace(Function function) {
  try {
    return function();
  } catch (const c10::Error& error) {
    rethrow_without_trace(error);
  }
}

}  // namespace bertdist
