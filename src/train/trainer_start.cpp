#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <utility>

#include "base/content_hash.h"
#include "base/error.h"
#include "train/resume.h"
#include "train/tensor_bytes.h"
#include "train/trainer.h"

namespace bertdist {

std::int64_t Trainer::start() {
  check_ranks_agree();
  resume();
  return first_step_;
}

void Trainer::resume() {
  if (!config_.resume_from_checkpoint) return;
  std::string folder;
  std::string state;
  if (communicator_.rank() == 0) {
    if (const std::optional<Restored> restored = restore()) {
      folder = restored->folder.string();
      state = restored->state.to_json().dump();
    }
  }
  folder = broadcast_text(communicator_, folder, 0, "checkpoint to resume from");
  if (folder.empty()) {
    log_.info("no checkpoint in '{}' to resume from: starting from the beginning", checkpoints_.output_dir().string());
    return;
  }
  state = broadcast_text(communicator_, state, 0, "training state");
  const std::int64_t max_steps = state_.max_steps;
  state_ = TrainerState::from_json(nlohmann::ordered_json::parse(state), folder);
  state_.max_steps = max_steps;
  state_.num_train_epochs = config_.num_train_epochs;
  broadcast(communicator_, parameters_.values(), 0, "parameters");
  broadcast(communicator_, optimizer_.exp_avg(), 0, "optimizer state");
  broadcast(communicator_, optimizer_.exp_avg_sq(), 0, "optimizer state");
  optimizer_.set_num_updates(state_.global_step);
  if (has_best_in_memory()) {
    if (!best_values_.defined()) best_values_ = parameters_.values().clone();
    broadcast(communicator_, best_values_, 0, "the best parameters so far");
  }
  find_best_checkpoint(folder);
  first_step_ = state_.global_step;
  first_tokens_ = state_.num_input_tokens_seen;
  log_.info("resuming from '{}' at step {} of {}", folder, state_.global_step, state_.max_steps);
  if (is_over()) {
    log_.info("{}: nothing is left to train, the model is evaluated and written as it is",
              state_.global_step >= state_.max_steps ? "all steps are done" : "early_stopping_patience is used up");
  }
}

// Rank 0's. A newest checkpoint that cannot be read must not end a run that an older one can go on.
std::optional<Trainer::Restored> Trainer::restore() {
  const bool is_named = *config_.resume_from_checkpoint != "latest";
  std::exception_ptr failure_of_newest;
  for (const std::filesystem::path& folder : checkpoints_.to_resume_from(*config_.resume_from_checkpoint)) {
    try {
      const RunIdentity saved = load_run_identity(folder);
      require_resumable(saved, identity_);
      // Those of the newest were told before anything was loaded.
      if (failure_of_newest) tell_differences(folder, saved, identity_, config_, log_);
      return Restored{folder, restore_from(folder, saved)};
    } catch (const Error& error) {
      const bool is_another_run = error.code() == ExitCode::configuration;
      if (is_named || is_another_run) throw;
      if (!failure_of_newest) failure_of_newest = std::current_exception();
      log_.warn("'{}' is passed over: {}", folder.string(), error.what());
    }
  }
  if (failure_of_newest) std::rethrow_exception(failure_of_newest);
  return std::nullopt;
}

TrainerState Trainer::restore_from(const std::filesystem::path& checkpoint, const RunIdentity& saved) {
  load_parameters(checkpoint, parameters_);
  load_optimizer(checkpoint, parameters_, optimizer_);
  TrainerState state = load_trainer_state(checkpoint);
  if (role_ == TrainerRole::replay) {
    state.forget_best();
    return state;
  }
  // Metrics of other rows, or other metrics, do not compare.
  const bool same_rows = saved.validation_data == identity_.validation_data;
  if (same_rows && saved.best_by == identity_.best_by) {
    if (role_ == TrainerRole::trial) best_values_ = load_best_values(checkpoint, parameters_);
    return state;
  }
  if (state.best_metric) {
    log_.info("the best so far, the {} on {} validation rows, does not count any more: now it is the {}", saved.best_by,
              same_rows ? "the same" : "other", identity_.best_by);
  }
  state.forget_best();
  return state;
}

// Whether the best weights so far are a trial's, which no checkpoint of their own has.
bool Trainer::has_best_in_memory() const {
  return role_ == TrainerRole::trial && config_.load_best_model_at_end && state_.best_global_step &&
         state_.best_model_checkpoint.empty();
}

// The run's folder may have been moved, or be written in another way: the best checkpoint is looked for in this run's
// folder, and beside the one that is resumed from.
void Trainer::find_best_checkpoint(const std::filesystem::path& resumed_from) {
  if (state_.best_model_checkpoint.empty()) return;
  std::string found;
  if (communicator_.rank() == 0) {
    const std::filesystem::path name = std::filesystem::path(state_.best_model_checkpoint).filename();
    for (const std::filesystem::path& folder : {checkpoints_.output_dir(), resumed_from.parent_path()}) {
      if (found.empty() && std::filesystem::exists(folder / name)) found = (folder / name).string();
    }
  }
  found = broadcast_text(communicator_, found, 0, "best checkpoint");
  if (found.empty()) {
    log_.warn("the best checkpoint so far, '{}', is gone: the best from here on counts", state_.best_model_checkpoint);
    state_.forget_best();
    return;
  }
  state_.best_model_checkpoint = found;
}

void Trainer::announce() const {
  log_.info("{}, global batch {}: {} an epoch, {} in all", counted(train_.size(), "training row"), global_batch_size_,
            counted(steps_per_epoch_, "step"), with_thousands_separators(state_.max_steps));
  const std::size_t num_buckets = reducer_.buckets().size();
  if (communicator_.world_size() == 1 || num_buckets == 1 || every_rank_does_all_rows_) return;
  log_.info("gradients are summed in {} buckets{}{}", num_buckets,
            config_.grad_reduce_in_bf16 ? ", those of matrices in bfloat16," : "",
            config_.overlap_grad_reduce ? " while backward goes on" : "");
}

std::string Trainer::frozen_weights() const {
  ContentHash hash;
  for (const NamedParameter& parameter : model_.parameters()) {
    if (!parameter.tensor.requires_grad()) hash.field(parameter.name).update(bytes_of(on_host(parameter.tensor)));
  }
  return hash.hex();
}

void Trainer::check_ranks_agree() const {
  std::string names;
  for (const FlatParameters::Slice& slice : parameters_.slices()) {
    names += fmt::format("{} {}\n", slice.name, fmt::join(slice.shape, "x"));
  }
  require_same_on_all_ranks(communicator_, names, "the names and shapes of the trained parameters");
  require_same_on_all_ranks(communicator_, to_toml(config_), "the configuration");
  require_same_on_all_ranks(communicator_, reducer_.order(), "the order of the gradients' buckets");
  require_same_on_all_ranks(communicator_, identity_.train_data, "the training data");
  ContentHash trained;
  trained.update(bytes_of(on_host(parameters_.values())));
  require_same_on_all_ranks(communicator_, identity_.frozen_weights + trained.hex(), "the model's weights");
}

}  // namespace bertdist
