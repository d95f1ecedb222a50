#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>

#include "model/keyed_dropout.h"

namespace bertdist {

// What keyed_dropout needs to know of a tensor's rows.
struct HiddenDropout {
  double p;
  Dropout dropout;
  DropoutSite site;
  std::span<const std::int64_t> row_ids;  // [batch]
  std::span<const std::int64_t> offsets;  // [batch + 1], in elements
};

// layer_norm(keyed_dropout(x) + residual), in one pass over the rows and one over their gradients. x and residual:
// float32 [rows, hidden] on the CPU; weight and bias: [hidden]. Its bits do not depend on the number of threads.
at::Tensor dropout_add_layer_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                                  const at::Tensor& bias, double eps, const std::optional<HiddenDropout>& dropout);

}  // namespace bertdist
