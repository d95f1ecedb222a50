#include "model/trained_layer_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <numeric>
#include <tuple>
#include <vector>

#include "base/error.h"

namespace bertdist {
namespace {

constexpr double kEps = 1e-5;

// Sequences of 2, 5 and 12 tokens.
struct Inputs {
  at::Tensor x, residual, weight, bias;
  std::vector<std::int64_t> row_ids, offsets;

  explicit Inputs(std::int64_t hidden, at::ScalarType dtype = at::kFloat) : row_ids{70, 3, 9} {
    at::manual_seed(8);
    const auto leaf = [&](const at::Tensor& tensor) { return tensor.to(dtype).requires_grad_(); };
    x = leaf(at::randn({19, hidden}));
    residual = leaf(2 * at::randn({19, hidden}) + 1);
    weight = leaf(at::randn({hidden}));
    bias = leaf(at::randn({hidden}));
    for (const std::int64_t token : {0, 2, 7, 19}) offsets.push_back(token * hidden);
  }
  HiddenDropout dropout(double p) const {
    return {p, {.seed = 11, .step = 4}, DropoutSite::output(2), row_ids, offsets};
  }
  std::vector<at::Tensor> gradients() const { return {x.grad(), residual.grad(), weight.grad(), bias.grad()}; }
};

at::Tensor run(const Inputs& inputs, double p) {
  return dropout_add_layer_norm(inputs.x, inputs.residual, inputs.weight, inputs.bias, kEps, inputs.dropout(p));
}

// The three operators, in float64.
at::Tensor reference(const Inputs& inputs, double p) {
  const HiddenDropout dropout = inputs.dropout(p);
  const at::Tensor mask =
      keyed_dropout(at::ones(inputs.x.sizes()), p, dropout.dropout, dropout.site, dropout.row_ids, dropout.offsets);
  return at::layer_norm(inputs.x * mask.to(at::kDouble) + inputs.residual, {inputs.x.size(1)}, inputs.weight,
                        inputs.bias, kEps);
}

void expect_close(const at::Tensor& value, const at::Tensor& expected) {
  EXPECT_LT(((value.to(at::kDouble) - expected).norm() / expected.norm()).item<double>(), 1e-6);
}

class DropoutAddLayerNormTest : public testing::TestWithParam<std::tuple<std::int64_t, double>> {};

TEST_P(DropoutAddLayerNormTest, IsTheThreeOperators) {
  const auto [hidden, p] = GetParam();
  const Inputs inputs(hidden), expected(hidden, at::kDouble);
  const at::Tensor value = run(inputs, p), expected_value = reference(expected, p);
  expect_close(value, expected_value);
  const at::Tensor d_value = at::randn({19, hidden});
  value.backward(d_value);
  expected_value.backward(d_value.to(at::kDouble));
  for (std::size_t i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    expect_close(inputs.gradients()[i], expected.gradients()[i]);
  }
}

TEST_P(DropoutAddLayerNormTest, HasTheSameBitsOnAnyNumberOfThreads) {
  const auto [hidden, p] = GetParam();
  const int before = at::get_num_threads();
  std::vector<std::vector<at::Tensor>> results;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    const Inputs inputs(hidden);
    const at::Tensor value = run(inputs, p);
    value.backward(at::ones_like(value) + value.detach());
    results.push_back(inputs.gradients());
    results.back().push_back(value.detach());
  }
  at::set_num_threads(before);
  for (std::size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Sizes, DropoutAddLayerNormTest,
                         testing::Combine(testing::Values(3, 32, 77, 384), testing::Values(0.0, 0.1, 0.6)));

TEST(DropoutAddLayerNormTest, WithoutDropoutNothingIsDropped) {
  const Inputs inputs(24);
  const at::Tensor value =
      dropout_add_layer_norm(inputs.x, inputs.residual, inputs.weight, inputs.bias, kEps, std::nullopt);
  EXPECT_TRUE(at::equal(value, run(inputs, 0)));
}

TEST(DropoutAddLayerNormTest, RefusesRowsThatDoNotFit) {
  Inputs inputs(24);
  inputs.offsets.back() -= 1;
  EXPECT_THROW(run(inputs, 0.1), Error);
}

}  // namespace
}  // namespace bertdist
