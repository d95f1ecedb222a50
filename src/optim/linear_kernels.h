#pragma once

#include <cstdint>

namespace bertdist {

// What a small batch does to a linear layer, weight [out, in] as in the model: batches of a few rows, where a general
// matrix product spends its time on arranging the weight. All arrays are row-major float32 of the caller's; a batch is
// padded with rows of zeros to a multiple of kRowUnit. Sums have a fixed order: equal arguments give equal bits.
constexpr std::int64_t kRowUnit = 8;

constexpr std::int64_t padded_rows(std::int64_t rows) {
  return (rows + kRowUnit - 1) / kRowUnit * kRowUnit;
}

struct LinearBatch {
  const float* input;     // [rows, in]
  const float* d_output;  // [rows, out]: the loss's derivative by the layer's output
  std::int64_t rows;      // padded
};

// output[rows, out] = input * weight', without a bias.
void linear_products(float* output, const float* weight, const float* input, std::int64_t rows, std::int64_t in,
                     std::int64_t out);

// gradient[out, in] += d_output' * input.
void add_linear_gradient(float* gradient, const LinearBatch& batch, std::int64_t in, std::int64_t out);

// What an AdamW update depends on beside the gradient and the moments; the symbols are those of torch.optim.AdamW.
struct AdamWStep {
  double learning_rate = 0;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  std::int64_t num_updates = 1;  // this one included
};

// One AdamW update of the weight and its moments, in place, by scale times the batch's gradient, which is made on the
// way and never stored; and, while each row of the weight is at hand, its products with the next batch, as
// linear_products gives them. The weight is so read once a step. To rounding what at::_fused_adamw_ does.
struct NextInput {
  const float* input;  // [rows, in]
  float* output;       // [rows, out]
  std::int64_t rows;   // padded; may be 0
};
void update_linear(float* weight, float* exp_avg, float* exp_avg_sq, const LinearBatch& batch, std::int64_t in,
                   std::int64_t out, float scale, const AdamWStep& step, const NextInput& next);

// The update alone, of parameters [count] whose gradient is scale * gradient[i].
void update_adamw(float* parameter, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count,
                  float scale, const AdamWStep& step);

}  // namespace bertdist
