#include "model/trained_linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <vector>

namespace bertdist {
namespace {

struct Layer {
  at::Tensor input, weight, bias;
};

Layer make_layer() {
  at::manual_seed(1);
  return {at::randn({37, 24}).requires_grad_(), at::randn({16, 24}).requires_grad_(), at::randn({16}).requires_grad_()};
}

void give_gradients(const Layer& layer) {
  layer.weight.mutable_grad() = at::zeros_like(layer.weight);
  layer.bias.mutable_grad() = at::zeros_like(layer.bias);
}

class TrainedLinearTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  double tolerance() const { return GetParam() == at::kFloat ? 1e-5 : 3e-2; }
  void expect_close(const at::Tensor& value, const at::Tensor& expected) const {
    const double error = (value - expected).norm().item<double>() / expected.norm().item<double>();
    EXPECT_LT(error, tolerance());
  }
};

TEST_P(TrainedLinearTest, AddsTheGradientsOfLinearWhereTheyAreKept) {
  const Layer layer = make_layer(), expected = make_layer();
  give_gradients(layer);
  const void* const kept = layer.weight.grad().data_ptr();
  for (int pass = 0; pass < 2; ++pass) {
    const at::Tensor output = trained_linear(layer.input, layer.weight, layer.bias, GetParam());
    const at::Tensor expected_output = at::linear(expected.input, expected.weight, expected.bias);
    ASSERT_EQ(output.scalar_type(), at::kFloat);
    expect_close(output, expected_output);
    const at::Tensor d_output = at::randn({37, 16});
    output.backward(d_output);
    expected_output.backward(d_output);
  }
  expect_close(layer.input.grad(), expected.input.grad());
  expect_close(layer.weight.grad(), expected.weight.grad());
  expect_close(layer.bias.grad(), expected.bias.grad());
  EXPECT_EQ(layer.weight.grad().data_ptr(), kept);
}

TEST_P(TrainedLinearTest, LeavesFrozenWeightsToAutograd) {
  const Layer layer = make_layer(), expected = make_layer();
  layer.weight.set_requires_grad(false);
  trained_linear(layer.input, layer.weight, layer.bias, GetParam()).sum().backward();
  at::linear(expected.input, expected.weight, expected.bias).sum().backward();
  expect_close(layer.input.grad(), expected.input.grad());
  expect_close(layer.bias.grad(), expected.bias.grad());
  EXPECT_FALSE(layer.weight.grad().defined());
}

class Counter : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Counter(int& calls) : calls_(calls) {}
  void operator()(const at::Tensor& parameter) override {
    EXPECT_NE(parameter.grad().abs().sum().item<float>(), 0) << "called before the gradient is there";
    ++calls_;
  }

 private:
  int& calls_;
};

TEST_P(TrainedLinearTest, CallsTheHooksThatWaitForGradients) {
  const Layer layer = make_layer();
  give_gradients(layer);
  int weight_calls = 0, bias_calls = 0;
  torch::autograd::impl::set_post_acc_grad_hooks(layer.weight, std::make_unique<Counter>(weight_calls));
  torch::autograd::impl::set_post_acc_grad_hooks(layer.bias, std::make_unique<Counter>(bias_calls));
  trained_linear(layer.input, layer.weight, layer.bias, GetParam()).sum().backward();
  EXPECT_EQ(weight_calls, 1);
  EXPECT_EQ(bias_calls, 1);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, TrainedLinearTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& test) { return std::string(at::toString(test.param)); });

}  // namespace
}  // namespace bertdist
