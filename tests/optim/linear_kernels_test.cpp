// Against libtorch's products, and its fused AdamW on the gradient as backward makes it.

#include "optim/linear_kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

namespace bertdist {
namespace {

at::Tensor with_zero_rows(const at::Tensor& rows) {
  at::Tensor padded = at::zeros({padded_rows(rows.size(0)), rows.size(1)});
  padded.narrow(0, 0, rows.size(0)).copy_(rows);
  return padded;
}

LinearBatch batch_of(const at::Tensor& input, const at::Tensor& d_output) {
  return {input.data_ptr<float>(), d_output.data_ptr<float>(), input.size(0)};
}

TEST(LinearKernels, ProductsForAnySize) {
  at::manual_seed(5);
  for (const std::int64_t rows : {1, 8, 21}) {
    for (const std::int64_t in : {3, 16, 37}) {
      for (const std::int64_t out : {1, 5}) {
        const at::Tensor input = with_zero_rows(at::randn({rows, in}));
        const at::Tensor weight = at::randn({out, in});
        at::Tensor output = at::empty({input.size(0), out});
        linear_products(output.data_ptr<float>(), weight.data_ptr<float>(), input.data_ptr<float>(), input.size(0), in,
                        out);
        EXPECT_TRUE(at::allclose(output, input.matmul(weight.t()), 1e-5, 1e-5)) << rows << " " << in << " " << out;
      }
    }
  }
}

TEST(LinearKernels, GradientForAnySize) {
  at::manual_seed(6);
  for (const std::int64_t rows : {1, 8, 21}) {
    const at::Tensor input = with_zero_rows(at::randn({rows, 37})), d_output = with_zero_rows(at::randn({rows, 5}));
    at::Tensor gradient = at::randn({5, 37});
    const at::Tensor expected = gradient + d_output.t().matmul(input);
    add_linear_gradient(gradient.data_ptr<float>(), batch_of(input, d_output), 37, 5);
    EXPECT_TRUE(at::allclose(gradient, expected, 1e-5, 1e-5)) << rows;
  }
}

TEST(LinearKernels, UpdatesAgreeWithTheFusedKernelOverManySteps) {
  at::manual_seed(3);
  for (const std::int64_t rows : {1, 7, 8, 19}) {
    const std::int64_t out = 5;
    const std::int64_t in = 700;  // more than one block
    const float scale = 0.5f;
    at::Tensor weight = at::randn({out, in});
    at::Tensor exp_avg = at::zeros({out, in});
    at::Tensor exp_avg_sq = at::zeros({out, in});
    at::Tensor expected = weight.clone();
    at::Tensor expected_avg = exp_avg.clone();
    at::Tensor expected_avg_sq = exp_avg_sq.clone();
    for (std::int64_t step = 1; step <= 20; ++step) {
      const at::Tensor d_output = with_zero_rows(at::randn({rows, out})), input = with_zero_rows(at::randn({rows, in}));
      const at::Tensor next_input = with_zero_rows(at::randn({11, in}));
      at::Tensor next_output = at::empty({16, out}), products = at::empty({16, out});
      const AdamWStep adamw_step{.learning_rate = 1e-2,
                                 .weight_decay = 0.1,
                                 .beta1 = 0.8,
                                 .beta2 = 0.99,
                                 .epsilon = 1e-6,
                                 .num_updates = step};
      update_linear(weight.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(),
                    batch_of(input, d_output), in, out, scale, adamw_step,
                    {next_input.data_ptr<float>(), next_output.data_ptr<float>(), 16});
      at::_fused_adamw_({expected}, {d_output.t().matmul(input) * scale}, {expected_avg}, {expected_avg_sq}, {},
                        {at::full({}, static_cast<double>(step))}, 1e-2, 0.8, 0.99, 0.1, 1e-6, false, false);
      linear_products(products.data_ptr<float>(), weight.data_ptr<float>(), next_input.data_ptr<float>(), 16, in, out);
      EXPECT_TRUE(at::equal(next_output, products)) << "a resumed run makes them anew";
    }
    EXPECT_TRUE(at::allclose(weight, expected, 1e-5, 1e-6)) << (weight - expected).abs().max();
    EXPECT_TRUE(at::allclose(exp_avg, expected_avg, 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(exp_avg_sq, expected_avg_sq, 1e-5, 1e-6));
  }
}

TEST(LinearKernels, UpdatesByAGivenGradient) {
  at::manual_seed(4);
  at::Tensor bias = at::randn({1000});
  at::Tensor exp_avg = at::zeros({1000});
  at::Tensor exp_avg_sq = at::zeros({1000});
  at::Tensor expected = bias.clone();
  at::Tensor expected_avg = exp_avg.clone();
  at::Tensor expected_avg_sq = exp_avg_sq.clone();
  const at::Tensor gradient = at::randn({1000});
  update_adamw(bias.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(),
               gradient.data_ptr<float>(), 1000, 2.0f, {.learning_rate = 1e-3});
  at::_fused_adamw_({expected}, {gradient * 2}, {expected_avg}, {expected_avg_sq}, {}, {at::ones({})}, 1e-3, 0.9, 0.999,
                    0.0, 1e-8, false, false);
  EXPECT_TRUE(at::allclose(bias, expected, 1e-5, 1e-7));
}

TEST(LinearKernels, MeansThatDecayEndAsZero) {
  std::vector<float> parameter(40, 1.0f), exp_avg(40, 1e-37f), exp_avg_sq(40, 1e-37f);
  const std::vector<float> gradient(40, 0.0f);
  for (std::int64_t step = 1000; step < 1030; ++step) {
    update_adamw(parameter.data(), exp_avg.data(), exp_avg_sq.data(), gradient.data(), 40, 1,
                 {.learning_rate = 1e-3, .beta2 = 0.9, .num_updates = step});
  }
  EXPECT_EQ(exp_avg, gradient) << "and not as a denormal number, which is slow";
  EXPECT_EQ(exp_avg_sq, gradient);
}

}  // namespace
}  // namespace bertdist
