#include "optim/adamw.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace bertdist {
namespace {

std::vector<TrainableParameter> make_parameters() {
  at::manual_seed(1);
  std::vector<TrainableParameter> parameters;
  parameters.push_back({"layer.bias", at::randn({7})});
  parameters.push_back({"layer.weight", at::randn({7, 5})});
  parameters.push_back({"LayerNorm.weight", at::randn({7})});
  parameters.push_back({"classifier.weight", at::randn({2, 7})});
  for (TrainableParameter& parameter : parameters) parameter.tensor.requires_grad_(true);
  return parameters;
}

// One parameter's AdamW in double precision, straight from the paper's algorithm 2.
struct ReferenceAdamW {
  std::vector<double> value, m, v;
  int step = 0;

  explicit ReferenceAdamW(const at::Tensor& tensor) {
    const at::Tensor flat = tensor.detach().flatten().to(at::kDouble);
    value.assign(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
    m.resize(value.size());
    v.resize(value.size());
  }
  void update(const at::Tensor& gradient, double lr, const AdamWOptions& o, double weight_decay) {
    ++step;
    const at::Tensor g = gradient.flatten().to(at::kDouble);
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double grad = g[static_cast<std::int64_t>(i)].item<double>();
      value[i] -= lr * weight_decay * value[i];
      m[i] = o.adam_beta1 * m[i] + (1 - o.adam_beta1) * grad;
      v[i] = o.adam_beta2 * v[i] + (1 - o.adam_beta2) * grad * grad;
      const double m_hat = m[i] / (1 - std::pow(o.adam_beta1, step));
      const double v_hat = v[i] / (1 - std::pow(o.adam_beta2, step));
      value[i] -= lr * m_hat / (std::sqrt(v_hat) + o.adam_epsilon);
    }
  }
};

TEST(AdamW, FollowsThePaperAndDecaysWhatHuggingFaceDecays) {
  std::vector<TrainableParameter> parameters = make_parameters();
  const std::vector<bool> decayed{false, true, false, true};
  std::vector<ReferenceAdamW> references;
  for (const TrainableParameter& parameter : parameters) references.emplace_back(parameter.tensor);

  FlatParameters flat(parameters);
  const AdamWOptions options{.weight_decay = 0.1};
  AdamW optimizer(flat, options);
  for (int step = 0; step < 20; ++step) {
    for (TrainableParameter& parameter : parameters) parameter.tensor.mutable_grad().normal_();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      references[i].update(parameters[i].tensor.grad(), 1e-2, options, decayed[i] ? options.weight_decay : 0.0);
    }
    optimizer.step(1e-2);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor value = parameters[i].tensor.detach().flatten();
    for (std::int64_t j = 0; j < value.numel(); ++j) {
      EXPECT_NEAR(value[j].item<double>(), references[i].value[static_cast<std::size_t>(j)], 2e-6)
          << parameters[i].name << " " << j;
    }
  }
}

TEST(FlatParameters, ParametersAndGradientsAreViewsOfTheBuffers) {
  std::vector<TrainableParameter> parameters = make_parameters();
  const at::Tensor before = parameters[1].tensor.detach().clone();
  FlatParameters flat(parameters);
  ASSERT_EQ(flat.num_elements(), 7 + 35 + 7 + 14);
  EXPECT_EQ(flat.num_decayed_elements(), 35 + 14);
  EXPECT_TRUE(at::equal(parameters[1].tensor, before));

  (parameters[1].tensor * 2).sum().backward();
  (parameters[1].tensor * 3).sum().backward();
  const FlatParameters::Slice& slice = flat.slices()[0];
  EXPECT_EQ(slice.name, "layer.weight");
  EXPECT_TRUE(at::equal(FlatParameters::view(flat.gradients(), slice), at::full({7, 5}, 5.0)));
  AdamW(flat, {}).step(0);
  EXPECT_EQ(parameters[1].tensor.grad().abs().sum().item<float>(), 0) << "a step leaves no gradient";
  EXPECT_EQ(parameters[1].tensor.grad().data_ptr(), FlatParameters::view(flat.gradients(), slice).data_ptr());
}

TEST(AdamW, ClippingIsAScaleOfTheGradients) {
  FlatParameters clipped(make_parameters()), scaled(make_parameters());
  AdamW optimizer(clipped, {}), reference(scaled, {});
  for (int step = 0; step < 3; ++step) {
    clipped.gradients().fill_(3.0 + step);
    const double norm = (3.0 + step) * std::sqrt(63.0);
    EXPECT_NEAR(grad_norm(clipped), norm, 1e-5);
    scaled.gradients().fill_((3.0 + step) / norm);
    optimizer.step(1e-2, clip_factor(grad_norm(clipped), 1.0));
    reference.step(1e-2);
  }
  EXPECT_TRUE(at::allclose(clipped.values(), scaled.values(), 1e-5, 1e-6));
}

// What devices other than the CPU do, on the CPU.
TEST(AdamW, TheFusedOperatorMakesTheSameSteps) {
  FlatParameters by_operator(make_parameters()), by_kernel(make_parameters());
  const AdamWOptions options{.weight_decay = 0.1};
  AdamW on_device(by_operator, options), on_host(by_kernel, options);
  const at::Tensor finite = at::zeros({});
  for (int step = 0; step < 50; ++step) {
    by_kernel.gradients().normal_().mul_(step % 2 == 0 ? 10 : 0.01);  // clipped and not
    by_operator.gradients().copy_(by_kernel.gradients());
    const at::Tensor norm = grad_norm_on_device(by_operator);
    EXPECT_NEAR(norm.item<double>(), grad_norm(by_kernel), 1e-5);
    on_device.step_on_device(1e-2, clip_divisor(norm, 1.0), finite);
    on_host.step(1e-2, clip_factor(grad_norm(by_kernel), 1.0));
  }
  EXPECT_TRUE(at::allclose(by_operator.values(), by_kernel.values(), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(on_device.exp_avg(), on_host.exp_avg(), 1e-4, 1e-7));
  EXPECT_TRUE(at::allclose(on_device.exp_avg_sq(), on_host.exp_avg_sq(), 1e-4, 1e-9));
  EXPECT_EQ(on_device.num_updates(), 50);
  EXPECT_EQ(by_operator.gradients().abs().sum().item<float>(), 0);
}

TEST(AdamW, TheFusedOperatorLeavesAllAsItIsWhereItIsTold) {
  FlatParameters flat(make_parameters());
  AdamW optimizer(flat, {.weight_decay = 0.1});
  const at::Tensor before = flat.values().clone();
  flat.gradients().fill_(std::numeric_limits<float>::infinity());
  optimizer.step_on_device(1e-2, clip_divisor(grad_norm_on_device(flat), 1.0), at::full({}, 1.0f));
  EXPECT_TRUE(at::equal(flat.values(), before));
  EXPECT_EQ(optimizer.exp_avg().abs().sum().item<float>(), 0);
  EXPECT_EQ(flat.gradients().abs().sum().item<float>(), 0);
}

// Embeddings of words that come late, or never.
TEST(AdamW, WhatHasHadNoGradientChangesByDecayAloneAndCatchesUp) {
  at::manual_seed(3);
  const std::int64_t num_words = 900, width = 7;  // several of the optimiser's blocks
  for (const double weight_decay : {0.0, 0.1}) {
    const std::vector<TrainableParameter> parameters{{"words.weight", at::randn({num_words, width}).requires_grad_()},
                                                     {"layer.bias", at::randn({width}).requires_grad_()}};
    const at::Tensor start = parameters[0].tensor.detach().clone();
    const AdamWOptions options{.weight_decay = weight_decay};
    ReferenceAdamW reference(parameters[0].tensor);
    FlatParameters flat(parameters);
    std::optional<AdamW> optimizer(std::in_place, flat, options);
    for (int step = 0; step < 8; ++step) {
      at::Tensor gradient = parameters[0].tensor.mutable_grad();
      gradient.narrow(0, 0, 2).normal_();
      if (step % 2 == 1) gradient.narrow(0, 600, 1).normal_();
      reference.update(gradient, 1e-2, options, weight_decay);
      if (step == 4) {  // as a resumed run does
        const at::Tensor exp_avg = optimizer->exp_avg(), exp_avg_sq = optimizer->exp_avg_sq();
        const std::int64_t num_updates = optimizer->num_updates();
        optimizer.emplace(flat, options);
        optimizer->exp_avg().copy_(exp_avg);
        optimizer->exp_avg_sq().copy_(exp_avg_sq);
        optimizer->set_num_updates(num_updates);
      }
      optimizer->step(1e-2);
      EXPECT_EQ(gradient.abs().sum().item<float>(), 0);
    }
    const at::Tensor values = parameters[0].tensor.detach().flatten();
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      EXPECT_NEAR(values[i].item<double>(), reference.value[static_cast<std::size_t>(i)], 2e-6) << i;
    }
    if (weight_decay == 0) {
      EXPECT_TRUE(at::equal(values.slice(0, 14, 600 * width), start.flatten().slice(0, 14, 600 * width)));
    }
  }
}

TEST(ClipFactor, IsOneForShortGradientsAndWithoutALimit) {
  EXPECT_NEAR(clip_factor(4.0, 1.0), 0.25, 1e-6);
  EXPECT_EQ(clip_factor(4.0, 5.0), 1.0f);
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0f);
  for (const double max_norm : {0.0, 1.0, 5.0}) {
    const double divisor = clip_divisor(at::full({}, 4.0f), max_norm).item<double>();
    EXPECT_NEAR(divisor, 1 / clip_factor(4.0, max_norm), 1e-6) << max_norm;
  }
}

TEST(GradNorm, ReportsAGradientThatIsNotFinite) {
  FlatParameters flat(make_parameters());
  flat.gradients()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(grad_norm(flat)));
}

TEST(GradNorm, HasTheSameBitsOnAnyNumberOfThreads) {
  at::manual_seed(4);
  FlatParameters flat({{"layer.weight", at::randn({700, 500}).requires_grad_()}});
  flat.gradients().normal_();
  const int num_threads = at::get_num_threads();
  at::set_num_threads(1);
  const double norm = grad_norm(flat);
  EXPECT_NEAR(norm, flat.gradients().to(at::kDouble).norm().item<double>(), 1e-9);
  at::set_num_threads(3);
  EXPECT_EQ(grad_norm(flat), norm);
  at::set_num_threads(num_threads);
}

}  // namespace
}  // namespace bertdist
