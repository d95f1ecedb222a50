#include "train/head_batch.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "data/split.h"
#include "metrics/classification_metrics.h"
#include "train/trainer.h"

namespace bertdist {

namespace {

at::Tensor flat_head(const BertForSequenceClassification& model) {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& parameter : HeadLayout::parameters(model)) parts.push_back(parameter.flatten());
  return at::cat(parts);
}

}  // namespace

HeadBatch::HeadBatch(const std::vector<Start>& starts, const Forward& train, const Forward& validation)
    : train_(train),
      validation_(validation),
      validation_features_(validation.cls_features(all_rows(validation.dataset().size()))),
      layout_{.hidden = validation_features_.size(1), .num_labels = starts.front().model->config().num_labels()} {
  const c10::NoGradGuard no_grad;
  for (const auto& [config, model] : starts) {
    Head& head = heads_.emplace_back();
    head.config = config;
    head.dropout = config->classifier_dropout.value_or(model->config().head_dropout_prob());
    head.values = flat_head(*model);
    head.exp_avg = at::zeros_like(head.values);
    head.exp_avg_sq = at::zeros_like(head.values);
    const std::int64_t batch_size = global_batch_size(*config, /*world_size=*/1);
    head.length.steps_per_epoch = num_steps_per_epoch(train.dataset().size(), batch_size);
    head.length.max_steps = num_training_steps(*config, head.length.steps_per_epoch);
    head.schedule = learning_rate_schedule(*config, head.length.max_steps);
    head.state.max_steps = head.length.max_steps;
    head.state.num_train_epochs = config->num_train_epochs;
    head.state.train_batch_size = batch_size;
    turns_.push_back(turns_.size());
  }
}

at::Tensor HeadBatch::pooler_weight(const at::Tensor& values) const {
  return values.narrow(0, 0, layout_.classifier_weight()).view({layout_.hidden, layout_.hidden});
}

at::Tensor HeadBatch::classifier_weight(const at::Tensor& values) const {
  return values.narrow(0, layout_.classifier_weight(), layout_.num_labels * layout_.hidden)
      .view({layout_.num_labels, layout_.hidden});
}

std::span<const std::int64_t> HeadBatch::rows_of_step(Head& head, std::int64_t step) {
  const std::int64_t epoch = step / head.length.steps_per_epoch;
  if (epoch != head.planned_epoch) {
    const TrainPlan::Options options{.seed = static_cast<std::uint64_t>(head.config->seed),
                                     .epoch = epoch,
                                     .global_batch_size = head.state.train_batch_size,
                                     .world_size = 1};
    head.plan.emplace(options, all_rows(train_.dataset().size()), train_.dataset().lengths());
    head.planned_epoch = epoch;
  }
  return head.plan->global_rows(step % head.length.steps_per_epoch);
}

at::Tensor HeadBatch::features_of_step(Head& head, std::int64_t step) {
  return train_.cls_features(rows_of_step(head, step));
}

HeadStep::Batch HeadBatch::batch_of_step(Head& head, std::int64_t step, const at::Tensor& features) {
  const std::span<const std::int64_t> rows = rows_of_step(head, step);
  const Dropout dropout{.seed = static_cast<std::uint64_t>(head.config->seed),
                        .step = static_cast<std::uint64_t>(step)};
  return {.features = features,
          .mask = keyed_dropout(at::ones_like(features), head.dropout, dropout, DropoutSite::classifier(),
                                train_.dataset().rows(rows)),
          .labels = train_.dataset().labels(rows)};
}

std::optional<HeadBatch::Event> HeadBatch::advance(Progress& progress) {
  const c10::NoGradGuard no_grad;
  while (events_.empty() && !turns_.empty()) {
    const std::size_t index = turns_.front();
    turns_.pop_front();
    train_turn(index, progress);
  }
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

// Up to the head's next evaluation, or to its end.
void HeadBatch::train_turn(std::size_t index, Progress& progress) {
  Head& head = heads_[index];
  const Config& config = *head.config;
  HeadStep head_step(layout_);
  at::Tensor features = features_of_step(head, head.state.global_step);
  for (bool goes_on = true; goes_on;) {
    const std::int64_t step = head.state.global_step;
    const HeadStep::Batch batch = batch_of_step(head, step, features);
    for (const std::int64_t row : rows_of_step(head, step)) {
      head.state.num_input_tokens_seen += train_.dataset().lengths()[static_cast<std::size_t>(row)];
    }
    const double loss = head_step.forward_backward(head.values.data_ptr<float>(), batch, config.label_smoothing_factor,
                                                   static_cast<double>(features.size(0)));
    const double grad_norm = head_step.grad_norm();
    if (!std::isfinite(loss) || !std::isfinite(grad_norm)) {
      events_.push_back(
          {.head = index,
           .kind = Event::Kind::failed,
           .evaluation = {},
           .error = fmt::format("step {}: loss {}, gradient norm {}: not finite", step + 1, loss, grad_norm)});
      return;
    }
    features = step + 1 < head.length.max_steps ? features_of_step(head, step + 1) : at::Tensor();
    const AdamWStep adamw_step{.learning_rate = head.schedule.at(step),
                               .weight_decay = config.weight_decay,
                               .beta1 = config.adam_beta1,
                               .beta2 = config.adam_beta2,
                               .epsilon = config.adam_epsilon,
                               .num_updates = step + 1};
    head_step.update(head.values.data_ptr<float>(), head.exp_avg.data_ptr<float>(), head.exp_avg_sq.data_ptr<float>(),
                     clip_factor(grad_norm, config.max_grad_norm), adamw_step, features);
    progress.advance();
    goes_on = report(index, loss, grad_norm);
  }
}

// What is due after a step. Returns whether the head's turn goes on.
bool HeadBatch::report(std::size_t index, double loss, double grad_norm) {
  Head& head = heads_[index];
  const std::int64_t step = ++head.state.global_step;
  head.state.epoch = head.length.epoch(step);
  head.state.total_loss += loss;
  head.state.loss_since_log += loss;
  ++head.state.steps_since_log;
  if (head.length.is_log_due(*head.config, step)) {
    log_train_loss(head, grad_norm);
  }
  const bool evaluates = head.length.is_evaluation_due(*head.config, step);
  if (evaluates) {
    Evaluation evaluation = evaluate_head(head.values, *head.config);
    keep_best(head, evaluation);
    events_.push_back(
        {.head = index, .kind = Event::Kind::evaluated, .evaluation = std::move(evaluation), .error = {}});
  }
  if (is_over(index)) {
    finish(index);
    return false;
  }
  if (evaluates) turns_.push_back(index);
  return !evaluates;
}

void HeadBatch::log_train_loss(Head& head, double grad_norm) {
  head.state.log_history.push_back(
      {{"epoch", head.state.epoch},
       {"grad_norm", grad_norm},
       {"learning_rate", head.schedule.at(head.state.global_step - 1)},
       {"loss", head.state.loss_since_log / static_cast<double>(head.state.steps_since_log)},
       {"step", head.state.global_step}});
  head.state.loss_since_log = 0;
  head.state.steps_since_log = 0;
}

bool HeadBatch::is_over(std::size_t index) const {
  const Head& head = heads_[index];
  const auto& patience = head.config->early_stopping_patience;
  return head.state.global_step >= head.length.max_steps ||
         (patience && head.state.evaluations_without_progress >= *patience);
}

void HeadBatch::stop(std::size_t head) {
  const auto turn = std::find(turns_.begin(), turns_.end(), head);
  if (turn == turns_.end()) return;
  turns_.erase(turn);
  finish(head);
}

void HeadBatch::keep_best(Head& head, const Evaluation& evaluation) {
  nlohmann::ordered_json entry{{"epoch", head.state.epoch}};
  entry.update(evaluation.to_json("eval_"));
  entry["step"] = head.state.global_step;
  head.state.log_history.push_back(std::move(entry));

  const std::optional<double> metric = metric_value(evaluation.metrics, head.config->metric_for_best_model);
  std::optional<double>& best = head.state.best_metric;
  const bool is_better = metric && (!best || (head.config->greater_is_better ? *metric > *best : *metric < *best));
  head.state.evaluations_without_progress = is_better ? 0 : head.state.evaluations_without_progress + 1;
  if (!is_better) return;
  best = metric;
  head.state.best_global_step = head.state.global_step;
  if (head.config->load_best_model_at_end) head.best_values = head.values.clone();
}

void HeadBatch::finish(std::size_t index) {
  const c10::NoGradGuard no_grad;
  Head& head = heads_[index];
  head.final_values = head.best_values.defined() ? head.best_values : head.values;
  for (at::Tensor* tensor : {&head.values, &head.exp_avg, &head.exp_avg_sq}) *tensor = at::Tensor();
  events_.push_back({.head = index,
                     .kind = Event::Kind::finished,
                     .evaluation = evaluate_head(head.final_values, *head.config),
                     .error = {}});
}

Evaluation HeadBatch::evaluate_head(const at::Tensor& values, const Config& config) const {
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor pooled = at::addmm(values.narrow(0, layout_.pooler_bias(), layout_.hidden), validation_features_,
                                      pooler_weight(values).t())
                                .tanh_();  // [rows, hidden]
  const at::Tensor logits =
      at::addmm(values.narrow(0, layout_.classifier_bias(), layout_.num_labels), pooled, classifier_weight(values).t())
          .contiguous();
  const Dataset& dataset = validation_.dataset();
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < dataset.size(); ++i) labels.push_back(dataset.label(i));
  Evaluation evaluation;
  evaluation.metrics =
      compute_classification_metrics({logits.data_ptr<float>(), static_cast<std::size_t>(logits.numel())}, labels,
                                     static_cast<int>(layout_.num_labels), config.label_smoothing_factor);
  evaluation.num_rows = dataset.size();
  evaluation.runtime = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return evaluation;
}

double HeadBatch::train_loss(std::size_t head) const {
  const TrainerState& state = heads_[head].state;
  return state.total_loss / static_cast<double>(std::max<std::int64_t>(1, state.global_step));
}

void HeadBatch::copy_to(std::size_t index, BertForSequenceClassification& model) const {
  const c10::NoGradGuard no_grad;
  std::int64_t offset = 0;
  for (const at::Tensor& parameter : HeadLayout::parameters(model)) {
    parameter.copy_(heads_[index].final_values.narrow(0, offset, parameter.numel()).view(parameter.sizes()));
    offset += parameter.numel();
  }
}

}  // namespace bertdist
