#include "train/small_batch_product.h"

#include "base/target_clones.h"

namespace bertdist {

namespace {

// Four rows of the weight and two of the batch at once: less is loaded and stored for each product.
BERTDIST_TARGET_CLONES
void add_four_rows_to_two(float* __restrict sum0, float* __restrict sum1, const float* __restrict weight,
                          const float* factors0, const float* factors1, std::int64_t out) {
  const float a0 = factors0[0], a1 = factors0[1], a2 = factors0[2], a3 = factors0[3];
  const float b0 = factors1[0], b1 = factors1[1], b2 = factors1[2], b3 = factors1[3];
  for (std::int64_t o = 0; o < out; ++o) {
    const float w0 = weight[o], w1 = weight[o + out], w2 = weight[o + 2 * out], w3 = weight[o + 3 * out];
    sum0[o] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3;
    sum1[o] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3;
  }
}

BERTDIST_TARGET_CLONES
void add_row(float* __restrict sum, const float* __restrict weight, float factor, std::int64_t out) {
  for (std::int64_t o = 0; o < out; ++o) sum[o] += factor * weight[o];
}

}  // namespace

void add_small_batch_product(float* sum, const float* input, const float* weight, std::int64_t batch, std::int64_t in,
                             std::int64_t out) {
  const std::int64_t in_fours = in - in % 4;
  const std::int64_t in_pairs = batch - batch % 2;
  for (std::int64_t i = 0; i < in_fours; i += 4) {
    for (std::int64_t b = 0; b < in_pairs; b += 2) {
      add_four_rows_to_two(sum + b * out, sum + (b + 1) * out, weight + i * out, input + b * in + i,
                           input + (b + 1) * in + i, out);
    }
  }
  const auto add_rows = [&](std::int64_t b, std::int64_t first) {
    for (std::int64_t i = first; i < in; ++i) add_row(sum + b * out, weight + i * out, input[b * in + i], out);
  };
  for (std::int64_t b = 0; b < in_pairs; ++b) add_rows(b, in_fours);
  if (in_pairs < batch) add_rows(in_pairs, 0);
}

}  // namespace bertdist
