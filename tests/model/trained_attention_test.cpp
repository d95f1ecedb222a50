#include "model/trained_attention.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>
#include <optional>
#include <vector>

#include "base/error.h"

namespace bertdist {
namespace {

constexpr std::int64_t kHeads = 3;

struct Case {
  std::vector<std::int32_t> cu_seqlens;
  std::int64_t head_dim;
  bool first_token_only;
  double p;
};

PackedLayout layout_of(const Case& test) {
  std::vector<std::int64_t> row_ids(test.cu_seqlens.size() - 1);
  for (std::size_t row = 0; row < row_ids.size(); ++row) row_ids[row] = 100 + static_cast<std::int64_t>(row);
  return make_layout(test.cu_seqlens, row_ids, test.cu_seqlens.back(), at::kCPU);
}

std::optional<AttentionDropout> dropout_of(const Case& test) {
  if (test.p == 0) return std::nullopt;
  return AttentionDropout{test.p, {.seed = 5, .step = 2}, DropoutSite::attention_probs(1)};
}

at::Tensor attend(const Case& test, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  return packed_attention(query, key, value, layout_of(test), kHeads, test.first_token_only, dropout_of(test));
}

// The formula, element by element, in float64.
at::Tensor reference(const Case& test, const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  const PackedLayout layout = layout_of(test);
  const at::Tensor q = query.contiguous(), k = key.contiguous(), v = value.contiguous();
  at::Tensor result = at::zeros_like(q);
  const std::int64_t hidden = q.size(1);
  const auto at = [&](const at::Tensor& matrix, std::int64_t row, std::int64_t column) -> double& {
    return matrix.data_ptr<double>()[row * hidden + column];
  };
  for (std::int64_t row = 0; row < layout.batch_size(); ++row) {
    const std::int64_t first = layout.offsets[row], length = layout.offsets[row + 1] - first;
    const std::int64_t num_queries = test.first_token_only ? 1 : length;
    at::Tensor mask = at::ones({1, kHeads * num_queries * length});
    if (test.p > 0) {
      const AttentionDropout dropout = *dropout_of(test);
      mask = keyed_dropout(mask, dropout.p, dropout.dropout, dropout.site, std::vector{layout.row_ids[row]});
    }
    for (std::int64_t head = 0; head < kHeads; ++head) {
      for (std::int64_t i = 0; i < num_queries; ++i) {
        const std::int64_t query_row = (test.first_token_only ? row : first) + i;
        std::vector<double> weights(static_cast<std::size_t>(length));
        double sum = 0;
        for (std::int64_t j = 0; j < length; ++j) {
          double score = 0;
          for (std::int64_t d = head * test.head_dim; d < (head + 1) * test.head_dim; ++d) {
            score += at(q, query_row, d) * at(k, first + j, d);
          }
          weights[j] = std::exp(score / std::sqrt(static_cast<double>(test.head_dim)));
          sum += weights[j];
        }
        for (std::int64_t j = 0; j < length; ++j) {
          const double kept = mask.data_ptr<float>()[(head * num_queries + i) * length + j];
          for (std::int64_t d = head * test.head_dim; d < (head + 1) * test.head_dim; ++d) {
            at(result, query_row, d) += weights[j] / sum * kept * at(v, first + j, d);
          }
        }
      }
    }
  }
  return result;
}

class TrainedAttentionTest : public testing::TestWithParam<Case> {
 protected:
  TrainedAttentionTest() {
    at::manual_seed(1);
    const std::int64_t hidden = kHeads * GetParam().head_dim, num_tokens = GetParam().cu_seqlens.back();
    const std::int64_t num_rows = std::ssize(GetParam().cu_seqlens) - 1;
    const std::int64_t num_queries = GetParam().first_token_only ? num_rows : num_tokens;
    inputs_ = {at::randn({num_queries, hidden}, at::kDouble) * 2, at::randn({num_tokens, hidden}, at::kDouble),
               at::randn({num_tokens, hidden}, at::kDouble)};
    d_context_ = at::randn({num_queries, hidden}, at::kDouble);
  }

  std::vector<at::Tensor> inputs_;  // query, key, value
  at::Tensor d_context_;
};

TEST_P(TrainedAttentionTest, IsTheFormula) {
  const at::Tensor expected = reference(GetParam(), inputs_[0], inputs_[1], inputs_[2]);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor context = attend(GetParam(), inputs_[0].to(dtype), inputs_[1].to(dtype), inputs_[2].to(dtype));
    const double tolerance = dtype == at::kFloat ? 2e-5 : 1e-6;  // the masks' factor is float32
    EXPECT_TRUE(at::allclose(context.to(at::kDouble), expected, tolerance, tolerance)) << dtype;
  }
}

// The derivative along random directions, by central differences of the formula in float64.
TEST_P(TrainedAttentionTest, HasTheFormulasDerivatives) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs_) leaves.push_back(input.to(at::kFloat).requires_grad_());
  attend(GetParam(), leaves[0], leaves[1], leaves[2]).backward(d_context_.to(at::kFloat));
  for (std::size_t input = 0; input < leaves.size(); ++input) {
    for (int direction = 0; direction < 3; ++direction) {
      const at::Tensor step = at::randn(inputs_[input].sizes(), at::kDouble) * 1e-5;
      const auto loss_at = [&](double factor) {
        std::vector<at::Tensor> moved = inputs_;
        moved[input] = inputs_[input] + step * factor;
        return (reference(GetParam(), moved[0], moved[1], moved[2]) * d_context_).sum().item<double>();
      };
      const double expected = (loss_at(1) - loss_at(-1)) / 2e-5;
      const at::Tensor gradient = leaves[input].grad().to(at::kDouble);
      const double along = (gradient * step).sum().item<double>() / 1e-5;
      const double size = gradient.norm().item<double>();
      EXPECT_NEAR(along, expected, 1e-4 * (size + 1)) << "input " << input;
    }
  }
}

TEST_P(TrainedAttentionTest, HasTheSameBitsOnAnyNumberOfThreads) {
  const auto run = [&](int num_threads) {
    at::set_num_threads(num_threads);
    std::vector<at::Tensor> results;
    for (const at::Tensor& input : inputs_) results.push_back(input.to(at::kFloat).requires_grad_());
    const at::Tensor context = attend(GetParam(), results[0], results[1], results[2]);
    context.backward(d_context_.to(at::kFloat));
    for (at::Tensor& result : results) result = result.grad();
    results.push_back(context);
    return results;
  };
  const int before = at::get_num_threads();
  const std::vector<at::Tensor> one = run(1), three = run(3);
  at::set_num_threads(before);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Shapes, TrainedAttentionTest,
                         testing::Values(Case{{0, 1, 18, 24, 94}, 32, false, 0},
                                         Case{{0, 1, 18, 24, 94}, 32, false, 0.3},
                                         Case{{0, 5, 10, 15, 31}, 20, false, 0.1}, Case{{0, 3}, 8, false, 0.5},
                                         Case{{0, 1, 18, 24, 94}, 32, true, 0}, Case{{0, 2, 9, 42}, 20, true, 0.2}));

}  // namespace
}  // namespace bertdist
