#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include "job.h"
#include "train/frozen_features.h"

namespace bertdist {

// How many threads libtorch's operators use in this process.
void use_threads(int num_threads);

// Of a model that is not trained: under "auto" float32, so that its logits are those of other programs.
at::ScalarType inference_dtype(const Config& config);
// Collective. Of layers that a training leaves as they are: under "auto" bfloat16 where every rank's processor has
// instructions for it.
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
