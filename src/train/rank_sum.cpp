#include "train/rank_sum.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

namespace bertdist {

void RankSum::add(const at::Tensor& part) {
  const c10::NoGradGuard no_grad;
  if (sum_.defined()) {
    sum_.add_(part);
  } else {
    sum_ = part.clone();
  }
  part.zero_();
}

void RankSum::finish(const at::Tensor& part) {
  part.copy_(sum_);
  sum_.reset();
}

}  // namespace bertdist
