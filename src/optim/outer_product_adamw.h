#pragma once

#include <cstdint>

namespace bertdist {

// What an AdamW update depends on beside the gradient and the moments; the symbols are those of torch.optim.AdamW.
struct AdamWStep {
  double learning_rate = 0;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  std::int64_t num_updates = 1;  // this one included
};

// One AdamW update of a matrix [rows, columns], in place, with its moments, where the gradient is scale * sum over b of
// left[b] (outer product) right[b]: what backward makes of a linear layer's weight and a batch. The gradient itself, as
// large as the weight, is never stored, which halves the memory that is touched. To rounding what at::_fused_adamw_
// does.
void outer_product_adamw(float* weight, float* exp_avg, float* exp_avg_sq, const float* left /* [batch, rows] */,
                         const float* right /* [batch, columns] */, std::int64_t batch, std::int64_t rows,
                         std::int64_t columns, float scale, const AdamWStep& step);

// The same for parameters [count] whose gradient is scale * gradient[i].
void adamw(float* parameter, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count, float scale,
           const AdamWStep& step);

}  // namespace bertdist
