#pragma once

#include <cstdint>
#include <future>
#include <optional>

#include "base/progress.h"
#include "train/checkpoint.h"

namespace bertdist {

// Writes a run's checkpoints on a thread of its own, one at a time and in their order, while training goes on. Rank
// 0's, whose main thread calls it.
class CheckpointWriter {
 public:
  // All must outlive the writer. What is written counts as progress of this rank.
  CheckpointWriter(const CheckpointStore& store, const BertForSequenceClassification& model,
                   const FlatParameters& parameters, Progress& progress);
  // Waits until what was begun is written. Whether that failed is not told any more.
  ~CheckpointWriter() = default;
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Begins to write one, and to remove the oldest beyond the limit afterwards; first waits for the one before, and
  // throws what it failed of.
  void start(TrainingSnapshot snapshot, std::optional<std::int64_t> save_total_limit);
  // Returns when everything that was begun is durable, under its final name. Throws Error(output) where it is not.
  void finish();

 private:
  const CheckpointStore& store_;
  const BertForSequenceClassification& model_;
  const FlatParameters& parameters_;
  Progress& progress_;
  std::int64_t step_ = 0;      // of the one that is being written
  std::future<void> writing_;  // its destructor waits
};

}  // namespace bertdist
