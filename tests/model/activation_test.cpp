#include "model/activation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace bertdist {
namespace {

// GELU's formula in float64, and its derivative by autograd.
at::Tensor reference(const at::Tensor& x) {
  return 0.5 * x * (1 + at::erf(x / std::sqrt(2.0)));
}

at::Tensor some_values() {
  at::manual_seed(3);
  return at::cat({at::linspace(-12, 12, 2'001), 3 * at::randn({1'030}), at::zeros({1})}).view({1, -1});
}

TEST(ActivationTest, GeluAndItsDerivativeAreThoseOfTheFormula) {
  const at::Tensor x = some_values().requires_grad_();
  const at::Tensor x64 = some_values().to(at::kDouble).requires_grad_();
  const at::Tensor value = activate(x, "gelu"), expected = reference(x64);
  EXPECT_LT((value.to(at::kDouble) - expected).abs().max().item<double>(), 1e-6);
  value.backward(at::full_like(value, 2));
  expected.backward(at::full_like(expected, 2));
  EXPECT_LT((x.grad().to(at::kDouble) - x64.grad()).abs().max().item<double>(), 4e-6);
}

TEST(ActivationTest, GeluIsTheSameWithoutGradientsAndForAnyPartOfATensor) {
  const at::Tensor x = some_values();
  const at::Tensor value = activate(x, "gelu_python");
  EXPECT_FALSE(value.requires_grad());
  EXPECT_TRUE(at::equal(value, activate(some_values().requires_grad_(), "gelu").detach()));
  for (const std::int64_t size : {1, 7, 9, 500}) {
    EXPECT_TRUE(at::equal(activate(x.narrow(1, 3, size), "gelu"), value.narrow(1, 3, size))) << size;
  }
}

TEST(ActivationTest, GeluOfWhatIsNotANumberIsNone) {
  const at::Tensor value = activate(at::tensor({std::numeric_limits<float>::quiet_NaN(), 1.0f}), "gelu");
  EXPECT_TRUE(std::isnan(value[0].item<float>()));
  EXPECT_FALSE(std::isnan(value[1].item<float>()));
}

TEST(ActivationTest, OthersAreLibtorchs) {
  const at::Tensor x = some_values();
  EXPECT_TRUE(at::equal(activate(x, "relu"), at::relu(x)));
  EXPECT_TRUE(at::equal(activate(x, "silu"), at::silu(x)));
  EXPECT_TRUE(at::equal(activate(x, "gelu_new"), at::gelu(x, "tanh")));
  EXPECT_TRUE(at::equal(activate(x.to(at::kBFloat16), "gelu"), at::gelu(x.to(at::kBFloat16))));
}

}  // namespace
}  // namespace bertdist
