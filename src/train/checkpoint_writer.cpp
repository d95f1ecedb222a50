#include "train/checkpoint_writer.h"

#include <fmt/core.h>

#include <utility>

namespace bertdist {

CheckpointWriter::CheckpointWriter(const CheckpointStore& store, const BertForSequenceClassification& model,
                                   const FlatParameters& parameters, Progress& progress)
    : store_(store), model_(model), parameters_(parameters), progress_(progress) {}

void CheckpointWriter::start(TrainingSnapshot snapshot, std::optional<std::int64_t> save_total_limit) {
  finish();
  step_ = snapshot.state.global_step;
  writing_ = std::async(std::launch::async, [this, save_total_limit, snapshot = std::move(snapshot)] {
    store_.save(model_, parameters_, snapshot, &progress_);
    if (save_total_limit) store_.rotate(*save_total_limit, snapshot.state.best_model_checkpoint);
  });
}

void CheckpointWriter::finish() {
  if (!writing_.valid()) return;
  progress_.enter(fmt::format("writing checkpoint-{}", step_));
  writing_.get();
}

}  // namespace bertdist
