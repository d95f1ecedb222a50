#include "train/device_step.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "comm/one_process_communicator.h"
#include "train/tensor_bytes.h"

namespace bertdist {
namespace {

constexpr double kMaxNorm = 1.0;
constexpr double kLearningRate = 1e-2;

// Linear regression in two batches, with the parts of a step that a device has, here on the CPU.
struct Training {
  at::Tensor weight = initial({3, 4}, "weight");
  at::Tensor bias = initial({3}, "bias");
  FlatParameters parameters{std::vector<TrainableParameter>{{"linear.weight", weight}, {"linear.bias", bias}}};
  OneProcessCommunicator communicator;
  GradientReducer reducer{parameters, buffer_of(parameters.reduced()), communicator, {}};
  AdamW optimizer{parameters, {.weight_decay = 0.1}};
  DeviceStep device_step{parameters, reducer, optimizer, kMaxNorm};

  static at::Tensor initial(std::vector<std::int64_t> shape, std::string_view name) {
    at::manual_seed(static_cast<std::uint64_t>(name.size()));
    return at::randn(shape).set_requires_grad(true);
  }
  at::Tensor backward(std::int64_t step, std::int64_t batch, float factor) {
    at::manual_seed(static_cast<std::uint64_t>(10 * step + batch));
    const at::Tensor loss =
        (at::linear(at::randn({5, 4}), weight, bias) - at::randn({5, 3})).pow(2).sum() * factor / 10;
    loss.backward();
    return loss;
  }

  void gradients_on_device(std::int64_t step, float factor = 1, bool stop = false) {
    device_step.begin();
    for (const std::int64_t batch : {0, 1}) device_step.add_loss(backward(step, batch, factor));
    device_step.reduce(stop);
  }
  StepResult step_of_the_cpu(std::int64_t step) {
    double loss = 0;
    for (const std::int64_t batch : {0, 1}) loss += backward(step, batch, 1).item<double>();
    const double norm = grad_norm(parameters);
    optimizer.step(kLearningRate, clip_factor(norm, kMaxNorm));
    return {step, loss, norm, kLearningRate, false};
  }
};

TEST(DeviceStep, DoesWhatTheCpuDoesAndTellsOneStepLate) {
  Training on_device, on_cpu;
  std::optional<StepResult> expected;
  for (std::int64_t step = 0; step < 20; ++step) {
    on_device.gradients_on_device(step);
    const std::optional<StepResult> numbers = on_device.device_step.take();
    ASSERT_EQ(numbers.has_value(), expected.has_value());
    if (numbers) {
      EXPECT_EQ(numbers->step, step - 1);
      EXPECT_NEAR(numbers->loss, expected->loss, 1e-5);
      EXPECT_NEAR(numbers->grad_norm, expected->grad_norm, 1e-4);
      EXPECT_EQ(numbers->learning_rate, kLearningRate);
      EXPECT_FALSE(numbers->stop_requested);
    }
    on_device.device_step.update(step, kLearningRate);
    expected = on_cpu.step_of_the_cpu(step);
  }
  EXPECT_TRUE(at::allclose(on_device.parameters.values(), on_cpu.parameters.values(), 1e-4, 1e-6));
  ASSERT_TRUE(on_device.device_step.take()) << "the last one's, for who asks at once";
  EXPECT_FALSE(on_device.device_step.take());
}

TEST(DeviceStep, AStepThatIsNotFiniteChangesNothing) {
  Training training;
  training.gradients_on_device(0);
  training.device_step.update(0, kLearningRate);
  const at::Tensor values = training.parameters.values().clone();
  const at::Tensor moments = training.optimizer.exp_avg().clone();
  training.gradients_on_device(1, std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isfinite(training.device_step.take()->loss));
  training.device_step.update(1, kLearningRate);
  EXPECT_TRUE(at::equal(training.parameters.values(), values));
  EXPECT_TRUE(at::equal(training.optimizer.exp_avg(), moments));
  training.gradients_on_device(2);
  EXPECT_FALSE(std::isfinite(training.device_step.take()->loss));
  EXPECT_TRUE(at::equal(training.parameters.values(), values)) << "when it is told, the next step has changed nothing";
}

TEST(DeviceStep, TellsWhetherAnyRankWantsToStop) {
  Training training;
  for (const bool stop : {false, true, false}) {
    training.gradients_on_device(0, 1, stop);
    training.device_step.update(0, kLearningRate);
    EXPECT_EQ(training.device_step.take()->stop_requested, stop);
  }
}

}  // namespace
}  // namespace bertdist
