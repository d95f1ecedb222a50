#include "train/run_schedule.h"

#include <algorithm>
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

bool is_due(const RunLength& length, Config::Strategy strategy, std::int64_t every, std::int64_t step) {
  switch (strategy) {
    case Config::Strategy::no:
      return false;
    case Config::Strategy::steps:
      return step % every == 0;
    case Config::Strategy::epoch:
      return step % length.steps_per_epoch == 0 || step == length.max_steps;
  }
  return false;
}

bool is_due_or_last(const RunLength& length, Config::Strategy strategy, std::int64_t every, std::int64_t step) {
  const bool is_last = strategy != Config::Strategy::no && step == length.max_steps;
  return is_last || is_due(length, strategy, every, step);
}

}  // namespace

int num_ranks(const Config& config, const Communicator& communicator) {
  return config.debug ? static_cast<int>(config.debug_world_size) : communicator.world_size();
}

std::int64_t global_batch_size(const Config& config, int num_ranks) {
  return config.global_batch_size.value_or(config.per_device_train_batch_size * config.gradient_accumulation_steps *
                                           num_ranks);
}

std::int64_t num_steps_per_epoch(std::int64_t num_rows, std::int64_t global_batch_size) {
  return (num_rows + global_batch_size - 1) / global_batch_size;
}

bool overfits(const Config& config) {
  return config.debug && config.debug_overfit_batches;
}

std::int64_t num_training_steps(const Config& config, std::int64_t steps_per_epoch) {
  constexpr std::int64_t kLeastToOverfit = 200;  // for each batch: data that are worth three epochs may be few
  if (config.max_steps > 0) return config.max_steps;
  const auto num_steps =
      static_cast<std::int64_t>(std::ceil(config.num_train_epochs * static_cast<double>(steps_per_epoch)));
  if (!overfits(config)) return num_steps;
  return std::max(num_steps, kLeastToOverfit * std::min(*config.debug_overfit_batches, steps_per_epoch));
}

LearningRateSchedule learning_rate_schedule(const Config& config, std::int64_t num_training_steps) {
  return {.type = scheduler_type(config.lr_scheduler_type),
          .learning_rate = config.learning_rate,
          .num_warmup_steps = num_warmup_steps(config, num_training_steps),
          .num_training_steps = num_training_steps};
}

bool RunLength::is_log_due(const Config& config, std::int64_t step) const {
  return is_due(*this, config.logging_strategy, config.logging_steps, step);
}

bool RunLength::is_evaluation_due(const Config& config, std::int64_t step) const {
  return is_due_or_last(*this, config.eval_strategy, config.eval_steps, step);
}

bool RunLength::is_save_due(const Config& config, std::int64_t step) const {
  return is_due_or_last(*this, config.save_strategy, config.save_steps, step);
}

}  // namespace bertdist
