#include "train/head_step.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/target_clones.h"

namespace bertdist {

namespace {

BERTDIST_TARGET_CLONES
void add_bias(float* __restrict row, const float* __restrict bias, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) row[i] += bias[i];
}

BERTDIST_TARGET_CLONES
void multiply(float* __restrict product, const float* __restrict a, const float* __restrict b, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) product[i] = a[i] * b[i];
}

BERTDIST_TARGET_CLONES
void add_scaled(float* __restrict sum, const float* __restrict values, float factor, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum[i] += factor * values[i];
}

// Through dropout and tanh.
BERTDIST_TARGET_CLONES
void backward_pooled(float* __restrict d_pooled, const float* __restrict mask, const float* __restrict pooled,
                     std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) d_pooled[i] *= mask[i] * (1 - pooled[i] * pooled[i]);
}

// Of the gradient of a linear layer's weight and bias without making it: of sum_b d_b x_b' it is the sum over b and c
// of (d_b . d_c) (x_b . x_c), and the bias is a weight of an input that is 1.
double squared_norm(const LinearBatch& batch, std::int64_t in, std::int64_t out) {
  const auto size = static_cast<std::size_t>(batch.rows * batch.rows);
  std::vector<float> products(size);
  std::vector<float> d_products(size);
  linear_products(products.data(), batch.input, batch.input, batch.rows, in, batch.rows);
  linear_products(d_products.data(), batch.d_output, batch.d_output, batch.rows, out, batch.rows);
  double sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum += static_cast<double>(d_products[i]) * (products[i] + 1.0);
  return std::max(0.0, sum);
}

at::Tensor uninitialized(std::int64_t rows, std::int64_t columns) {
  return at::empty({rows, columns}, at::kFloat);
}

}  // namespace

const std::vector<std::string>& HeadLayout::names() {
  static const std::vector<std::string> names = {"bert.pooler.dense.weight", "classifier.weight",
                                                 "bert.pooler.dense.bias", "classifier.bias"};
  return names;
}

std::vector<at::Tensor> HeadLayout::parameters(const BertForSequenceClassification& model) {
  std::vector<at::Tensor> found;
  for (const std::string& name : names()) {
    const auto parameter = std::find_if(model.parameters().begin(), model.parameters().end(),
                                        [&](const NamedParameter& candidate) { return candidate.name == name; });
    if (parameter == model.parameters().end()) {
      throw Error(ExitCode::internal, fmt::format("the model has no {}", name));
    }
    found.push_back(parameter->tensor.detach());
  }
  return found;
}

bool trains_head_alone(const BertForSequenceClassification& model) {
  std::vector<std::string> trained;
  for (const NamedParameter& parameter : model.parameters()) {
    if (parameter.tensor.requires_grad()) trained.push_back(parameter.name);
  }
  const std::vector<std::string>& names = HeadLayout::names();
  return model.cls_hidden_is_constant() &&
         std::is_permutation(trained.begin(), trained.end(), names.begin(), names.end());
}

HeadStep::Rows HeadStep::padded(const at::Tensor& features) const {
  const std::int64_t count = features.size(0);
  Rows rows{.features = features,
            .input = at::zeros({padded_rows(count), layout_.hidden}, at::kFloat),
            .output = uninitialized(padded_rows(count), layout_.hidden),
            .count = count};
  rows.input.narrow(0, 0, count).copy_(features);
  return rows;
}

double HeadStep::forward_backward(const float* values, const Batch& batch, double label_smoothing_factor,
                                  double divisor) {
  const c10::NoGradGuard no_grad;
  const std::int64_t hidden = layout_.hidden;
  if (next_.features.defined() && next_.features.is_same(batch.features)) {
    rows_ = std::move(next_);
  } else {
    rows_ = padded(batch.features);
    linear_products(rows_.output.data_ptr<float>(), values, rows_.input.data_ptr<float>(), rows_.input.size(0), hidden,
                    hidden);
  }
  next_ = {};
  pool(values, batch.mask);
  const double loss = classify(values, batch.labels, label_smoothing_factor, divisor);

  d_pooled_ = at::zeros({rows_.input.size(0), hidden}, at::kFloat);
  auto* const d_pooled = d_pooled_.data_ptr<float>();
  for (std::int64_t row = 0; row < rows_.count; ++row) {
    for (std::int64_t label = 0; label < layout_.num_labels; ++label) {
      add_scaled(d_pooled + row * hidden, values + layout_.classifier_weight() + label * hidden,
                 d_logits_.data_ptr<float>()[row * layout_.num_labels + label], hidden);
    }
  }
  backward_pooled(d_pooled, batch.mask.data_ptr<float>(), pooled_.data_ptr<float>(), rows_.count * hidden);
  return loss;
}

void HeadStep::pool(const float* values, const at::Tensor& mask) {
  const std::int64_t hidden = layout_.hidden;
  auto* const output = rows_.output.data_ptr<float>();
  for (std::int64_t row = 0; row < rows_.count; ++row) {
    add_bias(output + row * hidden, values + layout_.pooler_bias(), hidden);
  }
  pooled_ = at::tanh(rows_.output);
  dropped_ = at::zeros({rows_.input.size(0), hidden}, at::kFloat);
  multiply(dropped_.data_ptr<float>(), pooled_.data_ptr<float>(), mask.data_ptr<float>(), rows_.count * hidden);
}

// Softmax and cross-entropy of the logits, and their derivative.
double HeadStep::classify(const float* values, const at::Tensor& labels, double label_smoothing_factor,
                          double divisor) {
  const std::int64_t num_labels = layout_.num_labels;
  at::Tensor logits = uninitialized(rows_.input.size(0), num_labels);
  linear_products(logits.data_ptr<float>(), values + layout_.classifier_weight(), dropped_.data_ptr<float>(),
                  rows_.input.size(0), layout_.hidden, num_labels);
  d_logits_ = at::zeros({rows_.input.size(0), num_labels}, at::kFloat);
  const double elsewhere = label_smoothing_factor / static_cast<double>(num_labels);
  double loss = 0;
  for (std::int64_t row = 0; row < rows_.count; ++row) {
    float* const logit = logits.data_ptr<float>() + row * num_labels;
    add_bias(logit, values + layout_.classifier_bias(), num_labels);
    const double largest = *std::max_element(logit, logit + num_labels);
    double sum = 0;
    for (std::int64_t label = 0; label < num_labels; ++label) sum += std::exp(logit[label] - largest);
    for (std::int64_t label = 0; label < num_labels; ++label) {
      const double log_probability = logit[label] - largest - std::log(sum);
      const bool is_true = label == labels.data_ptr<std::int64_t>()[row];
      const double target = elsewhere + (is_true ? 1 - label_smoothing_factor : 0);
      loss -= target * log_probability;
      d_logits_.data_ptr<float>()[row * num_labels + label] =
          static_cast<float>((std::exp(log_probability) - target) / divisor);
    }
  }
  return loss / divisor;
}

LinearBatch HeadStep::pooler_batch() const {
  return {rows_.input.data_ptr<float>(), d_pooled_.data_ptr<float>(), rows_.input.size(0)};
}

LinearBatch HeadStep::classifier_batch() const {
  return {dropped_.data_ptr<float>(), d_logits_.data_ptr<float>(), dropped_.size(0)};
}

std::vector<float> HeadStep::bias_gradient(const at::Tensor& d_output) const {
  const std::int64_t size = d_output.size(1);
  std::vector<float> gradient(static_cast<std::size_t>(size));
  for (std::int64_t row = 0; row < rows_.count; ++row) {
    add_bias(gradient.data(), d_output.data_ptr<float>() + row * size, size);
  }
  return gradient;
}

double HeadStep::grad_norm() const {
  return std::sqrt(squared_norm(pooler_batch(), layout_.hidden, layout_.hidden) +
                   squared_norm(classifier_batch(), layout_.hidden, layout_.num_labels));
}

void HeadStep::add_gradient(float* gradient) const {
  add_linear_gradient(gradient, pooler_batch(), layout_.hidden, layout_.hidden);
  add_linear_gradient(gradient + layout_.classifier_weight(), classifier_batch(), layout_.hidden, layout_.num_labels);
  add_bias(gradient + layout_.pooler_bias(), bias_gradient(d_pooled_).data(), layout_.hidden);
  add_bias(gradient + layout_.classifier_bias(), bias_gradient(d_logits_).data(), layout_.num_labels);
}

void HeadStep::update(float* values, float* exp_avg, float* exp_avg_sq, float scale, AdamWStep step,
                      const at::Tensor& next_features) {
  const c10::NoGradGuard no_grad;
  next_ = next_features.defined() ? padded(next_features) : Rows{};
  NextInput next{.input = nullptr, .output = nullptr, .rows = 0};
  if (next_features.defined()) {
    next = {next_.input.data_ptr<float>(), next_.output.data_ptr<float>(), next_.input.size(0)};
  }
  const auto update_weight = [&](std::int64_t at, const LinearBatch& batch, std::int64_t out, const NextInput& after) {
    update_linear(values + at, exp_avg + at, exp_avg_sq + at, batch, layout_.hidden, out, scale, step, after);
  };
  const auto update_bias = [&](std::int64_t at, const at::Tensor& d_output) {
    const std::vector<float> gradient = bias_gradient(d_output);
    update_adamw(values + at, exp_avg + at, exp_avg_sq + at, gradient.data(), d_output.size(1), scale, step);
  };
  update_weight(0, pooler_batch(), layout_.hidden, next);
  update_weight(layout_.classifier_weight(), classifier_batch(), layout_.num_labels, {nullptr, nullptr, 0});
  step.weight_decay = 0;
  update_bias(layout_.pooler_bias(), d_pooled_);
  update_bias(layout_.classifier_bias(), d_logits_);
}

}  // namespace bertdist
