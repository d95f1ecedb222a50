#include "train/head_batch.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "data/split.h"
#include "metrics/classification_metrics.h"
#include "optim/outer_product_adamw.h"
#include "train/small_batch_product.h"
#include "train/trainer.h"

namespace bertdist {

namespace {

// In the order in which a head's parameters lie side by side; those with weight decay first.
const std::vector<std::string>& parameter_names() {
  static const std::vector<std::string> names = {"bert.pooler.dense.weight", "classifier.weight",
                                                 "bert.pooler.dense.bias", "classifier.bias"};
  return names;
}

at::Tensor find_parameter(const BertForSequenceClassification& model, const std::string& name) {
  for (const NamedParameter& parameter : model.parameters()) {
    if (parameter.name == name) return parameter.tensor.detach();
  }
  throw Error(ExitCode::internal, fmt::format("the model has no {}", name));
}

// Weights are kept as [in, out], the way in which both kernels go through them.
at::Tensor as_kept(const at::Tensor& parameter) {
  return parameter.dim() == 2 ? parameter.t() : parameter;
}

at::Tensor flat_head(const BertForSequenceClassification& model) {
  std::vector<at::Tensor> parts;
  for (const std::string& name : parameter_names()) parts.push_back(as_kept(find_parameter(model, name)).flatten());
  return at::cat(parts);
}

at::Tensor to_tensor(const std::vector<std::int64_t>& values) {
  at::Tensor tensor = at::empty({std::ssize(values)}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor;
}

std::vector<double> to_doubles(const at::Tensor& values) {
  const at::Tensor doubles = values.to(at::kDouble).contiguous();
  return {doubles.data_ptr<double>(), doubles.data_ptr<double>() + doubles.numel()};
}

// Of the gradient of a linear layer's weight and bias, per head, without making it: of sum_b d_b x_b' it is the sum
// over b and c of (d_b . d_c) (x_b . x_c), and the bias is a weight of an input that is 1. Takes [heads, batch, out]
// and [heads, batch, in], returns [heads].
at::Tensor squared_norm(const at::Tensor& d_output, const at::Tensor& input) {
  const at::Tensor d_products = at::bmm(d_output, d_output.transpose(1, 2));
  const at::Tensor products = at::bmm(input, input.transpose(1, 2));
  return (d_products * (products + 1)).sum({1, 2}).clamp_min_(0);
}

}  // namespace

bool HeadBatch::can_train(const BertForSequenceClassification& model) {
  std::vector<std::string> trained;
  for (const NamedParameter& parameter : model.parameters()) {
    if (parameter.tensor.requires_grad()) trained.push_back(parameter.name);
  }
  return model.cls_hidden_is_constant() &&
         std::is_permutation(trained.begin(), trained.end(), parameter_names().begin(), parameter_names().end());
}

HeadBatch::HeadBatch(const std::vector<Start>& starts, const Forward& train, const Forward& validation)
    : train_(train),
      validation_(validation),
      validation_features_(validation.cls_features(all_rows(validation.dataset().size()))),
      hidden_(validation_features_.size(1)),
      num_labels_(starts.front().model->config().num_labels()) {
  const c10::NoGradGuard no_grad;
  std::vector<at::Tensor> values;
  for (const auto& [config, model] : starts) {
    Head head{.config = config,
              .dropout = config->classifier_dropout.value_or(model->config().head_dropout_prob()),
              .length = {},
              .schedule = {},
              .state = {},
              .plan = {},
              .best_values = {},
              .final_values = {}};
    const std::int64_t batch_size = global_batch_size(*config, /*world_size=*/1);
    head.length.steps_per_epoch = num_steps_per_epoch(train.dataset().size(), batch_size);
    head.length.max_steps = num_training_steps(*config, head.length.steps_per_epoch);
    head.schedule = learning_rate_schedule(*config, head.length.max_steps);
    head.state.max_steps = head.length.max_steps;
    head.state.num_train_epochs = config->num_train_epochs;
    head.state.train_batch_size = batch_size;
    active_.push_back(heads_.size());
    heads_.push_back(std::move(head));
    values.push_back(flat_head(*model));
  }
  values_ = at::stack(values);
  exp_avg_ = at::zeros_like(values_);
  exp_avg_sq_ = at::zeros_like(values_);
}

at::Tensor HeadBatch::pooler_weight(const at::Tensor& flat) const {
  return flat.narrow(1, 0, hidden_ * hidden_).view({flat.size(0), hidden_, hidden_});
}
at::Tensor HeadBatch::classifier_weight(const at::Tensor& flat) const {
  return flat.narrow(1, hidden_ * hidden_, num_labels_ * hidden_).view({flat.size(0), hidden_, num_labels_});
}
at::Tensor HeadBatch::pooler_bias(const at::Tensor& flat) const {
  return flat.narrow(1, (hidden_ + num_labels_) * hidden_, hidden_);
}
at::Tensor HeadBatch::classifier_bias(const at::Tensor& flat) const {
  return flat.narrow(1, (hidden_ + num_labels_ + 1) * hidden_, num_labels_);
}

std::span<const std::int64_t> HeadBatch::rows_of_step(Head& head) {
  const std::int64_t epoch = step_ / head.length.steps_per_epoch;
  if (epoch != head.planned_epoch) {
    const TrainPlan::Options options{.seed = static_cast<std::uint64_t>(head.config->seed),
                                     .epoch = epoch,
                                     .global_batch_size = head.state.train_batch_size,
                                     .world_size = 1};
    head.plan.emplace(options, all_rows(train_.dataset().size()), train_.dataset().lengths());
    head.planned_epoch = epoch;
  }
  return head.plan->global_rows(step_ % head.length.steps_per_epoch);
}

HeadBatch::Step HeadBatch::train_step() {
  const Dataset& dataset = train_.dataset();
  const std::int64_t num_heads = std::ssize(active_);
  std::vector<std::int64_t> indices;
  std::vector<at::Tensor> masks;
  std::vector<double> smoothing;
  for (const std::size_t index : active_) {
    Head& head = heads_[index];
    const std::span<const std::int64_t> rows = rows_of_step(head);
    indices.insert(indices.end(), rows.begin(), rows.end());
    const Dropout dropout{.seed = static_cast<std::uint64_t>(head.config->seed),
                          .step = static_cast<std::uint64_t>(step_)};
    masks.push_back(keyed_dropout(at::ones({std::ssize(rows), hidden_}, at::kFloat), head.dropout, dropout,
                                  DropoutSite::classifier(), dataset.rows(rows)));
    smoothing.push_back(head.config->label_smoothing_factor);
    for (const std::int64_t row : rows) {
      head.state.num_input_tokens_seen += dataset.lengths()[static_cast<std::size_t>(row)];
    }
  }
  const std::int64_t batch_size = std::ssize(indices) / num_heads;
  const at::Tensor mask = at::stack(masks);  // [heads, batch, hidden]
  const at::Tensor input = train_.cls_features(indices).view({num_heads, batch_size, hidden_});

  const at::Tensor pooled = pooler_bias(values_).unsqueeze(1).repeat({1, batch_size, 1});
  for (std::int64_t slot = 0; slot < num_heads; ++slot) {
    const std::int64_t offset = slot * batch_size * hidden_;
    add_small_batch_product(pooled.data_ptr<float>() + offset, input.data_ptr<float>() + offset,
                            values_.data_ptr<float>() + slot * values_.size(1), batch_size, hidden_, hidden_);
  }
  pooled.tanh_();
  const at::Tensor dropped = pooled * mask;
  const at::Tensor logits = at::baddbmm(classifier_bias(values_).unsqueeze(1), dropped, classifier_weight(values_));
  const at::Tensor log_probabilities = at::log_softmax(logits, 2);  // [heads, batch, num_labels]

  at::Tensor share = at::empty({num_heads, 1, 1}, at::kFloat);
  std::copy(smoothing.begin(), smoothing.end(), share.mutable_data_ptr<float>());
  const at::Tensor labels = dataset.labels(indices).view({num_heads, batch_size, 1});
  const at::Tensor target = at::zeros_like(logits).scatter_(2, labels, 1.0) * (1 - share) + share / num_labels_;
  const at::Tensor losses = -(target * log_probabilities).sum({1, 2}) / batch_size;

  // Softmax and cross-entropy, the classifier, dropout, tanh: each derivative by the chain rule.
  const at::Tensor d_logits = (log_probabilities.exp() - target) / batch_size;
  const at::Tensor d_pooled =
      at::bmm(d_logits, classifier_weight(values_).transpose(1, 2)).mul_(mask).mul_(1 - pooled * pooled);
  return {.losses = to_doubles(losses),
          .grad_norms = to_doubles((squared_norm(d_pooled, input) + squared_norm(d_logits, dropped)).sqrt()),
          .input = input,
          .dropped = dropped,
          .d_pooled = d_pooled,
          .d_logits = d_logits};
}

// The linear layers' gradients are sums of outer products over the batch, which the update makes for itself.
void HeadBatch::update(std::size_t slot, const Step& step) {
  const Config& config = *heads_[active_[slot]].config;
  // clip_grad_norm's rule.
  const double factor = config.max_grad_norm / (step.grad_norms[slot] + 1e-6);
  const float scale = config.max_grad_norm > 0 && factor < 1 ? static_cast<float>(factor) : 1.0f;
  AdamWStep adamw_step{.learning_rate = heads_[active_[slot]].schedule.at(step_),
                       .weight_decay = config.weight_decay,
                       .beta1 = config.adam_beta1,
                       .beta2 = config.adam_beta2,
                       .epsilon = config.adam_epsilon,
                       .num_updates = step_ + 1};
  const std::int64_t offset = static_cast<std::int64_t>(slot) * values_.size(1);
  float* values = values_.data_ptr<float>() + offset;
  float* exp_avg = exp_avg_.data_ptr<float>() + offset;
  float* exp_avg_sq = exp_avg_sq_.data_ptr<float>() + offset;
  const auto update_weight = [&](std::int64_t at, const at::Tensor& input, const at::Tensor& d_output) {
    const at::Tensor rows = input.select(0, static_cast<std::int64_t>(slot)).contiguous();        // [batch, in]
    const at::Tensor columns = d_output.select(0, static_cast<std::int64_t>(slot)).contiguous();  // [batch, out]
    outer_product_adamw(values + at, exp_avg + at, exp_avg_sq + at, rows.data_ptr<float>(), columns.data_ptr<float>(),
                        rows.size(0), rows.size(1), columns.size(1), scale, adamw_step);
  };
  const auto update_bias = [&](std::int64_t at, const at::Tensor& d_output) {
    const at::Tensor gradient = d_output.select(0, static_cast<std::int64_t>(slot)).sum(0);
    adamw(values + at, exp_avg + at, exp_avg_sq + at, gradient.data_ptr<float>(), gradient.numel(), scale, adamw_step);
  };
  update_weight(0, step.input, step.d_pooled);
  update_weight(hidden_ * hidden_, step.dropped, step.d_logits);
  adamw_step.weight_decay = 0;
  update_bias((hidden_ + num_labels_) * hidden_, step.d_pooled);
  update_bias((hidden_ + num_labels_ + 1) * hidden_, step.d_logits);
}

std::optional<HeadBatch::Event> HeadBatch::advance(Progress& progress) {
  const c10::NoGradGuard no_grad;
  while (events_.empty() && !active_.empty()) {
    const Step step = train_step();
    for (std::size_t slot = 0; slot < active_.size(); ++slot) {
      if (is_finite(step, slot)) update(slot, step);
    }
    ++step_;
    finish_step(step);
    progress.advance();
  }
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

bool HeadBatch::is_finite(const Step& step, std::size_t slot) {
  return std::isfinite(step.losses[slot]) && std::isfinite(step.grad_norms[slot]);
}

void HeadBatch::finish_step(const Step& step) {
  std::vector<std::size_t> done;
  for (std::size_t slot = 0; slot < active_.size(); ++slot) {
    Head& head = heads_[active_[slot]];
    head.state.global_step = step_;
    head.state.epoch = head.length.epoch(step_);
    head.state.total_loss += step.losses[slot];
    head.state.loss_since_log += step.losses[slot];
    ++head.state.steps_since_log;
    if (!is_finite(step, slot)) {
      events_.push_back({.head = active_[slot],
                         .kind = Event::Kind::failed,
                         .evaluation = {},
                         .error = fmt::format("step {}: loss {}, gradient norm {}: not finite", step_,
                                              step.losses[slot], step.grad_norms[slot])});
      done.push_back(slot);
      continue;
    }
    if (head.length.is_due(head.config->logging_strategy, head.config->logging_steps, step_)) {
      log_train_loss(head, step.grad_norms[slot]);
    }
    if (head.length.is_due(head.config->eval_strategy, head.config->eval_steps, step_)) {
      Evaluation evaluation = evaluate_head(values_.select(0, static_cast<std::int64_t>(slot)), *head.config);
      keep_best(head, slot, evaluation);
      events_.push_back(
          {.head = active_[slot], .kind = Event::Kind::evaluated, .evaluation = std::move(evaluation), .error = {}});
    }
    if (is_over(active_[slot])) {
      finish(slot);
      done.push_back(slot);
    }
  }
  remove(done);
}

void HeadBatch::log_train_loss(Head& head, double grad_norm) {
  head.state.log_history.push_back(
      {{"epoch", head.state.epoch},
       {"grad_norm", grad_norm},
       {"learning_rate", head.schedule.at(step_ - 1)},
       {"loss", head.state.loss_since_log / static_cast<double>(head.state.steps_since_log)},
       {"step", step_}});
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
  const auto slot = std::find(active_.begin(), active_.end(), head);
  if (slot == active_.end()) return;
  finish(static_cast<std::size_t>(slot - active_.begin()));
  remove({static_cast<std::size_t>(slot - active_.begin())});
}

void HeadBatch::keep_best(Head& head, std::size_t slot, const Evaluation& evaluation) {
  nlohmann::ordered_json entry{{"epoch", head.state.epoch}};
  entry.update(evaluation.to_json("eval_"));
  entry["step"] = step_;
  head.state.log_history.push_back(std::move(entry));

  const std::optional<double> metric = metric_value(evaluation.metrics, head.config->metric_for_best_model);
  std::optional<double>& best = head.state.best_metric;
  const bool is_better = metric && (!best || (head.config->greater_is_better ? *metric > *best : *metric < *best));
  head.state.evaluations_without_progress = is_better ? 0 : head.state.evaluations_without_progress + 1;
  if (!is_better) return;
  best = metric;
  head.state.best_global_step = step_;
  if (head.config->load_best_model_at_end) {
    head.best_values = values_.select(0, static_cast<std::int64_t>(slot)).clone();
  }
}

void HeadBatch::finish(std::size_t slot) {
  const c10::NoGradGuard no_grad;
  Head& head = heads_[active_[slot]];
  head.final_values =
      head.best_values.defined() ? head.best_values : values_.select(0, static_cast<std::int64_t>(slot)).clone();
  events_.push_back({.head = active_[slot],
                     .kind = Event::Kind::finished,
                     .evaluation = evaluate_head(head.final_values, *head.config),
                     .error = {}});
}

void HeadBatch::remove(const std::vector<std::size_t>& slots) {
  if (slots.empty()) return;
  std::vector<std::int64_t> kept;
  std::vector<std::size_t> active;
  for (std::size_t slot = 0; slot < active_.size(); ++slot) {
    if (std::find(slots.begin(), slots.end(), slot) != slots.end()) continue;
    kept.push_back(static_cast<std::int64_t>(slot));
    active.push_back(active_[slot]);
  }
  active_ = std::move(active);
  const at::Tensor selection = to_tensor(kept);
  for (at::Tensor* tensor : {&values_, &exp_avg_, &exp_avg_sq_}) {
    *tensor = tensor->index_select(0, selection);
  }
}

Evaluation HeadBatch::evaluate_head(const at::Tensor& values, const Config& config) const {
  const auto start = std::chrono::steady_clock::now();
  const at::Tensor head = values.unsqueeze(0);
  const at::Tensor pooled =
      at::addmm(pooler_bias(head)[0], validation_features_, pooler_weight(head)[0]).tanh_();  // [rows, hidden]
  const at::Tensor logits = at::addmm(classifier_bias(head)[0], pooled, classifier_weight(head)[0]).contiguous();
  const Dataset& dataset = validation_.dataset();
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < dataset.size(); ++i) labels.push_back(dataset.label(i));
  Evaluation evaluation;
  evaluation.metrics =
      compute_classification_metrics({logits.data_ptr<float>(), static_cast<std::size_t>(logits.numel())}, labels,
                                     static_cast<int>(num_labels_), config.label_smoothing_factor);
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
  for (const std::string& name : parameter_names()) {
    at::Tensor parameter = find_parameter(model, name);
    as_kept(parameter).copy_(
        heads_[index].final_values.narrow(0, offset, parameter.numel()).view(as_kept(parameter).sizes()));
    offset += parameter.numel();
  }
}

}  // namespace bertdist
