#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "optim/adamw.h"
#include "train/gradient_reducer.h"
#include "train/late_values.h"
#include "train/step_result.h"

namespace bertdist {

// What follows backward in a step whose gradients are on a device, such that the host never waits for what it has just
// asked for: the sum over the ranks, norm, clipping and update go into the device's queue, and the step's numbers are
// read when the next step's gradients are in it too. A step of which loss or norm is not finite changes nothing.
class DeviceStep {
 public:
  // All must outlive it.
  DeviceStep(FlatParameters& parameters, GradientReducer& reducer, AdamW& optimizer, double max_grad_norm);

  // In this order, in each step: begin(), add_loss() after the backward of each batch, reduce(), take(), update().
  void begin();
  void add_loss(const at::Tensor& loss);  // float32 scalar: the batch's sum divided by the global number of rows
  void reduce(bool stop_requested);       // collective, as GradientReducer::finish
  // Waits for the numbers of the last step that was updated, unless they were taken before. Whoever throws because of
  // them finds the weights as that step found them.
  std::optional<StepResult> take();
  void update(std::int64_t step, double learning_rate);

 private:
  struct Pending {
    std::int64_t step;
    double learning_rate;
    LateValues values;
  };

  FlatParameters& parameters_;
  GradientReducer& reducer_;
  AdamW& optimizer_;
  const double max_grad_norm_;
  at::Tensor loss_;     // views of the buffer that the ranks sum
  at::Tensor to_stop_;  // ranks that were asked to
  at::Tensor norm_;     // of this step's gradients
  std::optional<Pending> pending_;
};

}  // namespace bertdist
