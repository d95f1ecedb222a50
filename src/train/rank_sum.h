#pragma once

#include <ATen/core/Tensor.h>

namespace bertdist {

// What Communicator::all_reduce makes of the ranks' buffers, to the bit, where one process computes them one after the
// other: their sum in the order of ranks.
class RankSum {
 public:
  // The next rank's. It is zero afterwards, as the one after it needs it.
  void add(const at::Tensor& part);
  // Puts the sum where the parts were.
  void finish(const at::Tensor& part);

 private:
  at::Tensor sum_;  // undefined before the first rank
};

}  // namespace bertdist
