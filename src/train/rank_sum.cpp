#include "train/rank_sum.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

namespace bertdist {

void RankSum::add(const at::Tensor& part) {
  const c10::NoGradGuard no_grad;
  round(part);
  if (sum_.defined()) {
    sum_.add_(part);
  } else {
    sum_ = part.clone();
  }
  part.zero_();
}

void RankSum::finish(const at::Tensor& part) {
  const c10::NoGradGuard no_grad;
  part.copy_(sum_);
  round(part);
  sum_.reset();
}

void RankSum::round(const at::Tensor& values) const {
  const at::Tensor rounded = values.narrow(0, 0, num_in_bf16_);
  if (num_in_bf16_ > 0) rounded.copy_(rounded.to(at::kBFloat16));
}

}  // namespace bertdist
