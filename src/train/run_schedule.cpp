#include "train/run_schedule.h"

#include <cmath>

#include "base/error.h"

namespace bertdist {

namespace {

SchedulerType scheduler_type(Config::Scheduler scheduler) {
  switch (scheduler) {
    case Config::Scheduler::linear:
      return SchedulerType::linear;
    case Config::Scheduler::cosine:
      return SchedulerType::cosine;
    case Config::Scheduler::constant:
      return SchedulerType::constant;
    case Config::Scheduler::constant_with_warmup:
      return SchedulerType::constant_with_warmup;
  }
  throw Error(ExitCode::internal, "unknown scheduler");
}

}  // namespace

std::int64_t global_batch_size(const Config& config, int world_size) {
  return config.global_batch_size.value_or(config.per_device_train_batch_size * config.gradient_accumulation_steps *
                                           world_size);
}

std::int64_t num_steps_per_epoch(std::int64_t num_rows, std::int64_t global_batch_size) {
  return (num_rows + global_batch_size - 1) / global_batch_size;
}

std::int64_t num_training_steps(const Config& config, std::int64_t steps_per_epoch) {
  if (config.max_steps > 0) return config.max_steps;
  return static_cast<std::int64_t>(std::ceil(config.num_train_epochs * static_cast<double>(steps_per_epoch)));
}

LearningRateSchedule learning_rate_schedule(const Config& config, std::int64_t num_training_steps) {
  return {.type = scheduler_type(config.lr_scheduler_type),
          .learning_rate = config.learning_rate,
          .num_warmup_steps = num_warmup_steps(config, num_training_steps),
          .num_training_steps = num_training_steps};
}

bool RunLength::is_due(Config::Strategy strategy, std::int64_t every, std::int64_t step) const {
  switch (strategy) {
    case Config::Strategy::no:
      return false;
    case Config::Strategy::steps:
      return step % every == 0;
    case Config::Strategy::epoch:
      return step % steps_per_epoch == 0 || step == max_steps;
  }
  return false;
}

}  // namespace bertdist
