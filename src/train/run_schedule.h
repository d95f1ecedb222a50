#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "config/config.h"
#include "optim/lr_scheduler.h"

namespace bertdist {

// When a run does what, as pure functions of its configuration.

// The ranks that share a step's rows: the communicator's, or as many as debug mode simulates in its one process.
int num_ranks(const Config& config, const Communicator& communicator);
// Rows of one optimiser step over all ranks and accumulation steps.
std::int64_t global_batch_size(const Config& config, int num_ranks);
std::int64_t num_steps_per_epoch(std::int64_t num_rows, std::int64_t global_batch_size);
// Whether debug mode goes through a few batches again and again instead of training.
bool overfits(const Config& config);
std::int64_t num_training_steps(const Config& config, std::int64_t steps_per_epoch);
LearningRateSchedule learning_rate_schedule(const Config& config, std::int64_t num_training_steps);

struct RunLength {
  std::int64_t steps_per_epoch = 1;
  std::int64_t max_steps = 1;

  double epoch(std::int64_t step) const { return static_cast<double>(step) / static_cast<double>(steps_per_epoch); }
  // Whether it happens once `step` steps are done. As in Hugging Face's Trainer, a strategy by steps evaluates and
  // saves after the last step too, but does not log there.
  bool is_log_due(const Config& config, std::int64_t step) const;
  bool is_evaluation_due(const Config& config, std::int64_t step) const;
  bool is_save_due(const Config& config, std::int64_t step) const;
};

}  // namespace bertdist
