#pragma once

#include <cstdint>
#include <string_view>

namespace bertdist {

enum class SchedulerType { linear, cosine, constant, constant_with_warmup };

// The learning rate as a pure function of the optimiser step, with the formulas of Hugging Face's
// transformers.optimization.get_scheduler.
struct LearningRateSchedule {
  SchedulerType type = SchedulerType::linear;
  double learning_rate = 5e-5;
  std::int64_t num_warmup_steps = 0;
  std::int64_t num_training_steps = 1;

  // `step` counts from 0: the rate that the update number `step` uses.
  double at(std::int64_t step) const;
};

}  // namespace bertdist
