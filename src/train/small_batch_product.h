#pragma once

#include <cstdint>

namespace bertdist {

// sum[batch, out] += input[batch, in] * weight[in, out], all row-major float32 of the caller's: for batches of few
// rows, where a general matrix product spends its time on arranging the weight.
void add_small_batch_product(float* sum, const float* input, const float* weight, std::int64_t batch, std::int64_t in,
                             std::int64_t out);

}  // namespace bertdist
