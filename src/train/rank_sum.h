#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace bertdist {

// What a GradientReducer makes of the ranks' buffers over MPI, to the bit, where one process computes them one after
// the other: their sum in the order of ranks. The first `num_in_bf16` elements travel as bfloat16.
class RankSum {
 public:
  explicit RankSum(std::int64_t num_in_bf16) : num_in_bf16_(num_in_bf16) {}

  // The next rank's. It is zero afterwards, as the one after it needs it.
  void add(const at::Tensor& part);
  // Puts the sum where the parts were.
  void finish(const at::Tensor& part);

 private:
  void round(const at::Tensor& values) const;

  const std::int64_t num_in_bf16_;
  at::Tensor sum_;  // undefined before the first rank
};

}  // namespace bertdist
