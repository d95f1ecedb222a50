#include "optim/lr_scheduler.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bertdist {

double LearningRateSchedule::at(std::int64_t step) const {
  if (type == SchedulerType::constant) return learning_rate;
  const auto position = static_cast<double>(step);
  const auto warmup = static_cast<double>(num_warmup_steps);
  if (step < num_warmup_steps) return learning_rate * position / std::max(1.0, warmup);
  if (type == SchedulerType::constant_with_warmup) return learning_rate;

  const auto total = static_cast<double>(num_training_steps);
  const double remaining = std::max(1.0, total - warmup);
  if (type == SchedulerType::linear) return learning_rate * std::max(0.0, (total - position) / remaining);
  const double progress = (position - warmup) / remaining;
  return learning_rate * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

}  // namespace bertdist
