#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include "job.h"
#include "model/bert.h"
#include "train/frozen_features.h"

namespace bertdist {

// How many threads libtorch's operators use in this process: those of the job, but one where the model is on a GPU,
// which one thread keeps busy. Returns the number.
int use_threads(const Job& job);

// Its name in libtorch.
at::Device device_of(const Gpu& gpu);
// Of the layers that are trained: under "auto" float32, but on a GPU that has units for it bfloat16.
at::ScalarType training_dtype(const Job& job);
// Puts a model where the job computes, with matrix products of `dtype`, or of float32 on a GPU that has no bfloat16,
// which is said.
void place_model(const Job& job, BertForSequenceClassification& model, at::ScalarType dtype);

// Of a model that is not trained: under "auto" float32, so that its logits are those of other programs.
at::ScalarType inference_dtype(const Config& config);
// Collective. Of layers that a training leaves as they are: on a GPU as training_dtype(), else under "auto" bfloat16
// where every rank's processor has instructions for it.
FrozenPassOptions frozen_pass_options(const Job& job);

// What `function` returns. libtorch's errors carry a trace of its own stack, which tells a user nothing: they come out
// without it, and as Error(device) where memory ran out, of a GPU with what of it is held.
[[noreturn]] void rethrow_without_trace(const Job& job, const c10::Error& error);
template <typename Function>
auto without_trace(const Job& job, Function function) {
  try {
    return function();
  } catch (const c10::Error& error) {
    rethrow_without_trace(job, error);
  }
}

}  // namespace bertdist
