#include "debugging/gradient_check.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "model/classification_loss.h"
#include "report/table.h"

namespace bertdist {

namespace {

constexpr std::int32_t kLengths[] = {7, 3, 7, 12};

BertConfig narrow(const BertConfig& config) {
  BertConfig small = config;
  small.vocab_size = 40;
  small.hidden_size = 16;
  small.num_attention_heads = 2;
  small.intermediate_size = 32;
  small.max_position_embeddings = 16;
  small.initializer_range = 0.3;
  small.pad_token_id = 0;
  return small;
}

at::Generator generator_of(std::uint64_t seed) {
  return at::detail::createCPUGenerator(seed);
}

// Not where LayerNorms are one and biases zero, at which a mistake may not show.
void perturb(BertForSequenceClassification& model, at::Generator& generator) {
  const c10::NoGradGuard no_grad;
  for (NamedParameter& parameter : model.parameters()) {
    const at::Tensor noise = at::randn(parameter.tensor.sizes(), generator, at::kDouble);
    parameter.tensor.set_data(parameter.tensor.to(at::kDouble) + 0.1 * noise);
  }
}

BertInput random_input(const BertConfig& config, const at::Generator& generator) {
  BertInput input;
  input.cu_seqlens = {0};
  std::vector<at::Tensor> positions;
  std::vector<at::Tensor> types;
  for (const std::int32_t length : kLengths) {
    input.row_ids.push_back(std::ssize(input.row_ids));
    input.cu_seqlens.push_back(input.cu_seqlens.back() + length);
    positions.push_back(at::arange(length, at::kLong));
    types.push_back((positions.back() > length / 2).to(at::kLong) * (config.type_vocab_size > 1 ? 1 : 0));
  }
  // The padding's embedding, id 0, has no gradient by rule.
  input.token_ids = at::randint(1, config.vocab_size, {input.cu_seqlens.back()}, generator, at::kLong);
  input.token_type_ids = at::cat(types);
  input.position_ids = at::cat(positions);
  return input;
}

std::string module_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

}  // namespace

at::Tensor GradientSample::loss() const {
  return classification_loss(model.logits(input, dropout), labels, label_smoothing_factor,
                             static_cast<double>(labels.numel()));
}

GradientSample make_gradient_sample(const BertConfig& config, double label_smoothing_factor, std::uint64_t seed) {
  const BertConfig small = narrow(config);
  at::Generator generator = generator_of(seed);
  BertForSequenceClassification model = BertForSequenceClassification::from_config(small, seed);
  perturb(model, generator);
  BertInput input = random_input(small, generator);
  return {.model = std::move(model),
          .input = std::move(input),
          .labels = at::randint(small.num_labels(), {std::ssize(kLengths)}, generator, at::kLong),
          .dropout = {.seed = seed, .step = 0},
          .label_smoothing_factor = label_smoothing_factor};
}

namespace {

Gradients backward(const GradientSample& sample) {
  sample.loss().backward();
  Gradients gradients;
  for (const NamedParameter& parameter : sample.model.parameters()) {
    if (!parameter.tensor.requires_grad()) continue;
    const at::Tensor& gradient = parameter.tensor.grad();
    gradients[parameter.name] = gradient.defined() ? gradient.clone() : at::zeros_like(parameter.tensor);
  }
  return gradients;
}

}  // namespace

Gradients autograd_gradients(const GradientSample& sample) {
  for (const NamedParameter& parameter : sample.model.parameters()) parameter.tensor.mutable_grad().reset();
  return backward(sample);
}

Gradients training_gradients(const GradientSample& sample) {
  std::vector<at::Tensor> values;
  for (const NamedParameter& parameter : sample.model.parameters()) {
    values.push_back(parameter.tensor.detach());
    parameter.tensor.mutable_grad().reset();
    parameter.tensor.set_data(values.back().to(at::kFloat));
    if (parameter.tensor.requires_grad()) parameter.tensor.mutable_grad() = at::zeros_like(parameter.tensor);
  }
  Gradients gradients = backward(sample);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const at::Tensor& parameter = sample.model.parameters()[i].tensor;
    parameter.mutable_grad().reset();
    parameter.set_data(values[i]);
  }
  return gradients;
}

double GradientComparison::relative_difference() const {
  const double larger = std::max(std::abs(by_gradient), std::abs(by_differences));
  return larger > 0 ? std::abs(by_gradient - by_differences) / larger : 0;
}

std::vector<GradientComparison> compare_with_differences(const GradientSample& sample, const Gradients& gradients,
                                                         double tolerance) {
  constexpr double kStep = 1e-5;
  const c10::NoGradGuard no_grad;
  at::Generator generator = generator_of(sample.dropout.seed + 1);
  std::vector<GradientComparison> comparisons;
  for (const NamedParameter& parameter : sample.model.parameters()) {
    const auto gradient = gradients.find(parameter.name);
    if (gradient == gradients.end()) continue;
    const at::Tensor value = parameter.tensor.detach();
    const at::Tensor before = value.clone();
    at::Tensor direction = at::randn(value.sizes(), generator, at::kDouble);
    direction /= direction.norm();
    const auto loss_at = [&](double step) {
      value.copy_(before + step * direction);
      return sample.loss().item<double>();
    };
    GradientComparison comparison{.parameter = parameter.name,
                                  .by_gradient = (gradient->second.to(at::kDouble) * direction).sum().item<double>(),
                                  .by_differences = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep),
                                  .agrees = false};
    value.copy_(before);
    const double difference = std::abs(comparison.by_gradient - comparison.by_differences);
    comparison.agrees = difference <= 0.01 * tolerance || comparison.relative_difference() <= tolerance;
    comparisons.push_back(std::move(comparison));
  }
  return comparisons;
}

std::string require_agreement(const std::vector<GradientComparison>& comparisons) {
  TablePrinter wrong({{"parameter"}, {"by the gradient", Align::right}, {"by differences", Align::right}});
  std::set<std::string> modules;
  const GradientComparison* nearest = nullptr;
  std::int64_t num_wrong = 0;
  for (const GradientComparison& comparison : comparisons) {
    modules.insert(module_of(comparison.parameter));
    if (comparison.agrees) continue;
    wrong.add_row({comparison.parameter, fmt::format("{:.9g}", comparison.by_gradient),
                   fmt::format("{:.9g}", comparison.by_differences)});
    nearest = &comparison;
    ++num_wrong;
  }
  if (nearest == nullptr) {
    return fmt::format("the gradients of {} in {} agree with finite differences",
                       counted(std::ssize(comparisons), "parameter"), counted(std::ssize(modules), "module"));
  }
  throw Error(
      ExitCode::gradient,
      fmt::format("the gradient of module {} is wrong; how the loss changes along a direction in {}:\n{}",
                  module_of(nearest->parameter),
                  num_wrong == 1 ? "its parameter" : "it and in modules before it, which it spoils", wrong.to_string()),
      "a defect of bertdist, or of libtorch on this processor: please report it with this output");
}

}  // namespace bertdist
