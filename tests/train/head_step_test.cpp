// The written-out steps against libtorch's autograd, clipping and AdamW on the same head.

#include "train/head_step.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "optim/adamw.h"

namespace bertdist {
namespace {

constexpr HeadLayout kLayout{.hidden = 24, .num_labels = 3};

struct Recorded {
  at::Tensor pooler_weight, classifier_weight, pooler_bias, classifier_bias;

  explicit Recorded(const at::Tensor& values)
      : pooler_weight(values.narrow(0, 0, kLayout.classifier_weight()).view({24, 24}).clone()),
        classifier_weight(values.narrow(0, kLayout.classifier_weight(), 72).view({3, 24}).clone()),
        pooler_bias(values.narrow(0, kLayout.pooler_bias(), 24).clone()),
        classifier_bias(values.narrow(0, kLayout.classifier_bias(), 3).clone()) {}

  std::vector<TrainableParameter> parameters() {
    std::vector<TrainableParameter> parameters;
    const std::vector<at::Tensor> tensors = {pooler_weight, classifier_weight, pooler_bias, classifier_bias};
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].set_requires_grad(true);
      parameters.push_back({HeadLayout::names()[i], tensors[i]});
    }
    return parameters;
  }

  at::Tensor loss(const HeadStep::Batch& batch, double smoothing, double divisor) const {
    const at::Tensor pooled = at::tanh(at::linear(batch.features, pooler_weight, pooler_bias));
    const at::Tensor logits = at::linear(pooled * batch.mask, classifier_weight, classifier_bias);
    return at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Sum, -100, smoothing) / divisor;
  }
};

HeadStep::Batch random_batch(std::int64_t rows) {
  return {.features = at::randn({rows, 24}),
          .mask = at::rand({rows, 24}).gt(0.3).to(at::kFloat).mul_(1 / 0.7),
          .labels = at::randint(0, 3, {rows}, at::kLong)};
}

TEST(HeadStep, LossAndGradientAreAutograds) {
  at::manual_seed(1);
  for (const std::int64_t rows : {1, 4, 8, 21}) {
    for (const double smoothing : {0.0, 0.2}) {
      const at::Tensor values = at::randn({kLayout.num_elements()}) * 0.3;
      Recorded recorded(values);
      FlatParameters parameters(recorded.parameters());
      const HeadStep::Batch batch = random_batch(rows);
      const at::Tensor loss = recorded.loss(batch, smoothing, 30);
      loss.backward();

      HeadStep step(kLayout);
      EXPECT_NEAR(step.forward_backward(values.data_ptr<float>(), batch, smoothing, 30), loss.item<double>(), 1e-6);
      at::Tensor gradient = at::zeros({kLayout.num_elements()});
      step.add_gradient(gradient.data_ptr<float>());
      EXPECT_TRUE(at::allclose(gradient, parameters.gradients(), 1e-5, 1e-6));
      EXPECT_NEAR(step.grad_norm(), gradient.norm().item<double>(), 1e-5);
    }
  }
}

TEST(HeadStep, AnEmptyShareOfABatchHasNoGradient) {
  const at::Tensor values = at::ones({kLayout.num_elements()});
  HeadStep step(kLayout);
  EXPECT_EQ(step.forward_backward(values.data_ptr<float>(), random_batch(0), 0, 8), 0);
  at::Tensor gradient = at::zeros({kLayout.num_elements()});
  step.add_gradient(gradient.data_ptr<float>());
  EXPECT_EQ(gradient.abs().sum().item<float>(), 0);
}

TEST(HeadStep, UpdatesAreThoseOfClippedAdamW) {
  at::manual_seed(2);
  const at::Tensor start = at::randn({kLayout.num_elements()}) * 0.3;
  at::Tensor values = start.clone(), exp_avg = at::zeros_like(values), exp_avg_sq = at::zeros_like(values);
  Recorded recorded(start);
  FlatParameters parameters(recorded.parameters());
  AdamW optimizer(parameters, {.weight_decay = 0.1});
  HeadStep step(kLayout);
  HeadStep::Batch batch = random_batch(8);
  for (std::int64_t number = 1; number <= 30; ++number) {
    recorded.loss(batch, 0, 8).backward();
    optimizer.step(1e-2, clip_factor(grad_norm(parameters), 0.5));

    step.forward_backward(values.data_ptr<float>(), batch, 0, 8);
    const float scale = clip_factor(step.grad_norm(), 0.5);
    batch = random_batch(number % 7 == 0 ? 5 : 8);
    step.update(values.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(), scale,
                {.learning_rate = 1e-2, .weight_decay = 0.1, .num_updates = number},
                number % 3 == 0 ? at::Tensor() : batch.features);
  }
  EXPECT_TRUE(at::allclose(values, parameters.values(), 1e-4, 1e-5)) << (values - parameters.values()).abs().max();
}

TEST(HeadStep, AResumedRunHasTheSameBits) {
  at::manual_seed(3);
  const at::Tensor start = at::randn({kLayout.num_elements()}) * 0.3;
  const HeadStep::Batch first = random_batch(8), second = random_batch(5);
  const auto train = [&](bool stops) {
    at::Tensor values = start.clone(), exp_avg = at::zeros_like(values), exp_avg_sq = at::zeros_like(values);
    HeadStep step(kLayout), resumed(kLayout);
    step.forward_backward(values.data_ptr<float>(), first, 0, 8);
    step.update(values.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(), 1,
                {.learning_rate = 1e-2}, second.features);
    HeadStep& next = stops ? resumed : step;
    next.forward_backward(values.data_ptr<float>(), second, 0, 5);
    next.update(values.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(), 1,
                {.learning_rate = 1e-2, .num_updates = 2}, {});
    return values;
  };
  EXPECT_TRUE(at::equal(train(true), train(false)));
}

}  // namespace
}  // namespace bertdist
