// The update that makes its own gradient against libtorch's fused AdamW on the gradient as backward makes it.

#include "optim/outer_product_adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace bertdist {
namespace {

TEST(OuterProductAdamW, AgreesWithTheFusedKernelOverManySteps) {
  at::manual_seed(3);
  for (const std::int64_t batch : {1, 7, 8, 11}) {
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
      const at::Tensor left = at::randn({batch, out});
      const at::Tensor right = at::randn({batch, in});
      const AdamWStep adamw_step{.learning_rate = 1e-2,
                                 .weight_decay = 0.1,
                                 .beta1 = 0.8,
                                 .beta2 = 0.99,
                                 .epsilon = 1e-6,
                                 .num_updates = step};
      outer_product_adamw(weight.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(),
                          left.data_ptr<float>(), right.data_ptr<float>(), batch, out, in, scale, adamw_step);
      at::_fused_adamw_({expected}, {left.t().matmul(right) * scale}, {expected_avg}, {expected_avg_sq}, {},
                        {at::full({}, static_cast<double>(step))}, 1e-2, 0.8, 0.99, 0.1, 1e-6, false, false);
    }
    EXPECT_TRUE(at::allclose(weight, expected, 1e-5, 1e-6)) << (weight - expected).abs().max();
    EXPECT_TRUE(at::allclose(exp_avg, expected_avg, 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(exp_avg_sq, expected_avg_sq, 1e-5, 1e-6));
  }
}

TEST(OuterProductAdamW, OfAGivenGradientToo) {
  at::manual_seed(4);
  at::Tensor bias = at::randn({1000});
  at::Tensor exp_avg = at::zeros({1000});
  at::Tensor exp_avg_sq = at::zeros({1000});
  at::Tensor expected = bias.clone();
  at::Tensor expected_avg = exp_avg.clone();
  at::Tensor expected_avg_sq = exp_avg_sq.clone();
  const at::Tensor gradient = at::randn({1000});
  adamw(bias.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(), gradient.data_ptr<float>(),
        1000, 2.0f, {.learning_rate = 1e-3});
  at::_fused_adamw_({expected}, {gradient * 2}, {expected_avg}, {expected_avg_sq}, {}, {at::ones({})}, 1e-3, 0.9, 0.999,
                    0.0, 1e-8, false, false);
  EXPECT_TRUE(at::allclose(bias, expected, 1e-5, 1e-7));
}

}  // namespace
}  // namespace bertdist
