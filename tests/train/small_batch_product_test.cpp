#include "train/small_batch_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace bertdist {
namespace {

TEST(SmallBatchProduct, IsTheProductForAnySize) {
  at::manual_seed(5);
  for (const std::int64_t batch : {1, 2, 5, 8}) {
    for (const std::int64_t in : {3, 8, 21}) {
      for (const std::int64_t out : {2, 33}) {
        const at::Tensor input = at::randn({batch, in});
        const at::Tensor weight = at::randn({in, out});
        at::Tensor sum = at::randn({batch, out});
        const at::Tensor expected = sum + input.matmul(weight);
        add_small_batch_product(sum.data_ptr<float>(), input.data_ptr<float>(), weight.data_ptr<float>(), batch, in,
                                out);
        EXPECT_TRUE(at::allclose(sum, expected, 1e-5, 1e-5)) << batch << " " << in << " " << out;
      }
    }
  }
}

}  // namespace
}  // namespace bertdist
