#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "model/bert.h"
#include "optim/adamw.h"
#include "train/run_identity.h"
#include "train/trainer_state.h"

namespace bertdist {

// What a checkpoint holds besides frozen weights: a copy in host memory, which training leaves as it is.
struct TrainingSnapshot {
  // Of FlatParameters and AdamW as they are now; `best_values`, the best weights so far that no checkpoint of their own
  // has, may be undefined.
  TrainingSnapshot(const FlatParameters& parameters, const AdamW& optimizer, const at::Tensor& best_values,
                   TrainerState state, RunIdentity identity);

  at::Tensor values;  // float32 [num_elements], as are the others
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
  at::Tensor best_values;
  TrainerState state;
  RunIdentity identity;
};

// The folders of a run on disk, all written by rank 0 alone. A checkpoint is a Hugging Face model folder and, beside
// it, optimizer.safetensors, trainer_state.json, run_identity.json and config.toml; it appears whole, under its final
// name, or not at all.
class CheckpointStore {
 public:
  // `tokenizer_folder` is where tokenizer files are copied from; `config_toml` the run's effective configuration.
  CheckpointStore(std::filesystem::path output_dir, std::filesystem::path tokenizer_folder, std::string config_toml);

  const std::filesystem::path& output_dir() const { return output_dir_; }
  std::filesystem::path path_of(std::int64_t step) const;  // output_dir/checkpoint-<step>

  // Of the model the frozen weights are read, which are shared with the checkpoints that the folder already holds, and
  // of `parameters` the names and shapes: on any thread, while others train. `progress` may be null where no other rank
  // waits.
  void save(const BertForSequenceClassification& model, const FlatParameters& parameters,
            const TrainingSnapshot& snapshot, Progress* progress = nullptr) const;
  // What tells this run from others, into output_dir itself: its configuration and its identity.
  void save_run(const RunIdentity& identity) const;
  // The model and the run's history, without what resuming needs, into output_dir itself.
  void save_final_model(const BertForSequenceClassification& model, const TrainerState& state,
                        Progress* progress = nullptr) const;

  // Removes the oldest checkpoints beyond the limit, but never the best one.
  void rotate(std::int64_t save_total_limit, const std::string& best_model_checkpoint) const;

  // What an earlier run left in output_dir: checkpoints, the final model with its tokenizer, results, state and log, by
  // the names that a run gives them.
  std::vector<std::filesystem::path> entries_of_previous_run() const;
  void remove_previous_run() const;
  // Takes away the checkpoints of steps after this one, and says which.
  std::vector<std::filesystem::path> remove_after(std::int64_t step) const;
  // Takes away what a run that was killed while it wrote left under temporary names.
  void remove_unfinished() const;

  // The newest complete checkpoint of this step or one before it, and the oldest of this step or one after it; empty
  // where there is none.
  std::filesystem::path newest_up_to(std::int64_t step) const;
  std::filesystem::path oldest_from(std::int64_t step) const;
  // The complete checkpoints, those with the highest steps first.
  std::vector<std::filesystem::path> newest_first() const;
  // Those to try in turn for Config::resume_from_checkpoint: "latest", or the one that it names.
  std::vector<std::filesystem::path> to_resume_from(const std::string& resume_from_checkpoint) const;

 private:
  // By rising step.
  std::vector<std::pair<std::int64_t, std::filesystem::path>> checkpoint_folders() const;
  std::vector<std::pair<std::int64_t, std::filesystem::path>> complete_checkpoints() const;
  std::filesystem::path newest_on_top_of(const std::string& frozen_weights) const;  // empty: there is none

  std::filesystem::path output_dir_;
  std::filesystem::path tokenizer_folder_;
  std::string config_toml_;
};

// Reads back what save() wrote, into buffers of the same parameters. Throws Error(data) where a file is missing or does
// not fit.
TrainerState load_trainer_state(const std::filesystem::path& checkpoint);
RunIdentity load_run_identity(const std::filesystem::path& checkpoint);
void load_parameters(const std::filesystem::path& checkpoint, FlatParameters& parameters);
// Undefined where the checkpoint was saved without.
at::Tensor load_best_values(const std::filesystem::path& checkpoint, const FlatParameters& parameters);
void load_optimizer(const std::filesystem::path& checkpoint, const FlatParameters& parameters, AdamW& optimizer);

}  // namespace bertdist
