// What a run keeps of itself: log, evaluations, the best weights, checkpoints.

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "base/error.h"
#include "train/divergence.h"
#include "train/tensor_bytes.h"
#include "train/trainer.h"

namespace bertdist {

namespace {

std::string format_metric(const std::optional<double>& value) {
  return value ? fmt::format("{:.4f}", *value) : "-";
}

}  // namespace

std::optional<double> metric_value(const ClassificationMetrics& metrics, std::string_view name) {
  for (const auto& [key, value] : metrics.named()) {
    if (key == name) return value;
  }
  throw Error(ExitCode::configuration, fmt::format("metric_for_best_model = \"{}\": there is no such metric", name),
              "one of loss, accuracy, auc, f1, precision, recall, mcc");
}

void Trainer::log_train_loss(const StepResult& result) {
  last_train_loss_ = state_.loss_since_log / static_cast<double>(state_.steps_since_log);
  state_.loss_since_log = 0;
  state_.steps_since_log = 0;
  append_log({{"epoch", state_.epoch},
              {"grad_norm", result.grad_norm},
              {"learning_rate", result.learning_rate},
              {"loss", *last_train_loss_},
              {"step", state_.global_step}});
}

Evaluation Trainer::run_evaluation() {
  Evaluation evaluation;
  try {
    evaluation = evaluate(*validation_forward_, config_.per_device_eval_batch_size, model_.config().num_labels(),
                          config_.label_smoothing_factor, communicator_);
  } catch (const Error& error) {
    if (error.code() != ExitCode::numeric) throw;
    checkpoint_writer_.finish();
    throw Error(ExitCode::numeric, fmt::format("evaluation after step {}: {}", state_.global_step, error.what()),
                divergence_hint(role_ == TrainerRole::run ? &checkpoints_ : nullptr, state_.global_step));
  }
  nlohmann::ordered_json entry{{"epoch", state_.epoch}};
  entry.update(evaluation.to_json("eval_"));
  entry["step"] = state_.global_step;
  append_log(std::move(entry));
  keep_best(metric_value(evaluation.metrics, config_.metric_for_best_model));
  if (progress_) print_evaluation(evaluation);
  return evaluation;
}

void Trainer::keep_best(std::optional<double> metric) {
  // Only what is kept can be gone back to.
  const bool is_kept = role_ == TrainerRole::trial || length().is_save_due(config_, state_.global_step);
  if (!is_kept) return;
  const bool is_better = metric && (!state_.best_metric || (config_.greater_is_better ? *metric > *state_.best_metric
                                                                                      : *metric < *state_.best_metric));
  state_.evaluations_without_progress = is_better ? 0 : state_.evaluations_without_progress + 1;
  if (!is_better) return;
  state_.best_metric = metric;
  state_.best_global_step = state_.global_step;
  if (role_ == TrainerRole::trial) {
    state_.best_model_checkpoint.clear();
    if (config_.load_best_model_at_end) best_values_ = parameters_.values().clone();
  } else {
    state_.best_model_checkpoint = checkpoints_.path_of(state_.global_step).string();
  }
}

void Trainer::print_evaluation(const Evaluation& evaluation) {
  progress_->clear();
  if (!table_started_) fmt::print("{}\n", epoch_table_.header());
  table_started_ = true;
  fmt::print("{}\n", epoch_table_.row_line({std::to_string(state_.global_step), fmt::format("{:.2f}", state_.epoch),
                                            format_metric(last_train_loss_), format_metric(evaluation.metrics.loss),
                                            format_metric(evaluation.metrics.accuracy),
                                            format_metric(evaluation.metrics.auc)}));
  std::fflush(stdout);
}

void Trainer::save_checkpoint() {
  if (communicator_.rank() != 0) return;
  checkpoint_writer_.start(TrainingSnapshot(parameters_, optimizer_, best_values_, state_, identity_),
                           role_ == TrainerRole::trial ? std::optional<std::int64_t>(1) : config_.save_total_limit);
}

void Trainer::stop_with_checkpoint() {
  wait_for_result();  // a checkpoint has the results of all its steps
  const bool is_saved = role_ == TrainerRole::run && length().is_save_due(config_, state_.global_step);
  if (!is_saved) save_checkpoint();
  checkpoint_writer_.finish();
  const std::string_view signal = stop_.signal().value_or("a signal to another rank");
  if (run_log_) run_log_->append({{"step", state_.global_step}, {"stopped_by", signal}});
  if (progress_) progress_->clear();
  // Whoever fails first ends all ranks: not before rank 0 has written.
  communicator_.barrier("the checkpoint before the end");
  throw Error(
      ExitCode::preempted,
      fmt::format("stopped by {} after step {} of {}; the run so far is in '{}'", signal, state_.global_step,
                  state_.max_steps, checkpoints_.path_of(state_.global_step).string()),
      role_ == TrainerRole::trial ? "" : "the same command with --resume_from_checkpoint latest goes on from there");
}

void Trainer::append_log(nlohmann::ordered_json entry) {
  if (run_log_) run_log_->append(entry);
  state_.log_history.push_back(std::move(entry));
}

void Trainer::load_best_model() {
  checkpoint_writer_.finish();
  if (best_values_.defined()) {
    const c10::NoGradGuard no_grad;
    parameters_.values().copy_(best_values_);
    return;
  }
  if (!config_.load_best_model_at_end || state_.best_model_checkpoint.empty()) return;
  if (communicator_.rank() == 0) load_parameters(state_.best_model_checkpoint, parameters_);
  broadcast(communicator_, parameters_.values(), 0, "the best model's parameters");
}

}  // namespace bertdist
