#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cross_entropy_loss.h>

#include "model/upload.h"

namespace bertdist {

// Of logits [batch, num_labels] and labels int64 [batch], which may stay on the host: the sum over the rows divided by
// `divisor`, the number of rows of the whole step. A scalar.
inline at::Tensor classification_loss(const at::Tensor& logits, const at::Tensor& labels, double label_smoothing_factor,
                                      double divisor) {
  return at::cross_entropy_loss(logits, upload(labels, logits.device()), /*weight=*/{}, at::Reduction::Sum,
                                /*ignore_index=*/-100, label_smoothing_factor) /
         divisor;
}

}  // namespace bertdist
