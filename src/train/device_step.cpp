#include "train/device_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <utility>

namespace bertdist {

DeviceStep::DeviceStep(FlatParameters& parameters, GradientReducer& reducer, AdamW& optimizer, double max_grad_norm)
    : parameters_(parameters),
      reducer_(reducer),
      optimizer_(optimizer),
      max_grad_norm_(max_grad_norm),
      loss_(parameters.reduced().select(0, parameters.num_elements())),
      to_stop_(parameters.reduced().select(0, parameters.num_elements() + 1)) {}

void DeviceStep::begin() {
  loss_.zero_();
  to_stop_.zero_();
}

void DeviceStep::add_loss(const at::Tensor& loss) {
  const c10::NoGradGuard no_grad;
  loss_.add_(loss);
}

void DeviceStep::reduce(bool stop_requested) {
  if (stop_requested) to_stop_.fill_(1);
  reducer_.finish();
  norm_ = grad_norm_on_device(parameters_);
}

std::optional<StepResult> DeviceStep::take() {
  if (!pending_) return std::nullopt;
  const Pending pending = *std::exchange(pending_, std::nullopt);
  const std::vector<float> values = pending.values.wait();
  return StepResult{.step = pending.step,
                    .loss = values[0],
                    .grad_norm = values[1],
                    .learning_rate = pending.learning_rate,
                    .stop_requested = values[2] > 0};
}

void DeviceStep::update(std::int64_t step, double learning_rate) {
  const c10::NoGradGuard no_grad;
  const at::Tensor numbers = at::stack({loss_, norm_, to_stop_});
  pending_.emplace(Pending{step, learning_rate, LateValues(numbers)});
  const at::Tensor found_inf = at::isfinite(numbers).logical_not().any().to(at::kFloat);
  optimizer_.step_on_device(learning_rate, clip_divisor(norm_, max_grad_norm_), found_inf);
}

}  // namespace bertdist
