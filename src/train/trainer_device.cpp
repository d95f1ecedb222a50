// Steps of a model that is on a device.

#include <ATen/core/Tensor.h>

#include <cmath>

#include "train/tensor_bytes.h"
#include "train/trainer.h"

namespace bertdist {

std::optional<StepResult> Trainer::step_on_device(std::int64_t step) {
  const std::int64_t global_count =
      std::ssize(plan_of_epoch(step / steps_per_epoch_).global_rows(step % steps_per_epoch_));
  const std::vector<int> ranks = ranks_of_this_process();
  RankSum sum(config_.grad_reduce_in_bf16 ? parameters_.num_decayed_elements() : 0);
  device_step_->begin();
  for (const int rank : ranks) {
    const std::vector<std::vector<std::int64_t>> batches = micro_batches(step, rank);
    for (const std::vector<std::int64_t>& batch : batches) {
      if (&batch == &batches.back()) reducer_.begin();
      device_step_->add_loss(recorded_backward(batch, global_count, step));
      communicator_.progress().advance();
    }
    enter(StepPhase::reduce);
    if (ranks.size() > 1) sum.add(parameters_.reduced());
  }
  if (ranks.size() > 1) sum.finish(parameters_.reduced());

  enter(StepPhase::reduce);
  device_step_->reduce(stop_.signal().has_value());
  std::optional<StepResult> result = take_result_from_device();
  enter(StepPhase::optimizer);
  if (debugger_) debugger_->before_update(step, parameters_);
  device_step_->update(step, schedule_.at(step));
  if (debugger_) debugger_->after_update(step, parameters_);
  if (is_result_due(step + 1)) result = wait_for_result();
  return result;
}

// As below, but such that a missing peer is found, and not an end that its absence brought about.
std::optional<StepResult> Trainer::wait_for_result() {
  if (device_step_) communicator_.synchronize("the step's numbers");
  return take_result_from_device();
}

// Whether what happens after so many steps needs the last one's result.
bool Trainer::is_result_due(std::int64_t num_steps) const {
  return debugger_ || role_ == TrainerRole::replay || num_steps == state_.max_steps ||
         length().is_log_due(config_, num_steps) || length().is_save_due(config_, num_steps) ||
         (validation_forward_ && length().is_evaluation_due(config_, num_steps));
}

// Of the last step, once; waits for the device. Nothing where it is known.
std::optional<StepResult> Trainer::take_result_from_device() {
  const std::optional<StepResult> result = device_step_ ? device_step_->take() : std::nullopt;
  if (!result) return std::nullopt;
  if (!std::isfinite(result->loss) || !std::isfinite(result->grad_norm)) {
    std::vector<std::int64_t> rows;
    for (const int rank : ranks_of_this_process()) {
      for (const auto& batch : micro_batches(result->step, rank)) rows.insert(rows.end(), batch.begin(), batch.end());
    }
    fail_not_finite(rows, *result);
  }
  account_for(*result);
  return result;
}

}  // namespace bertdist
