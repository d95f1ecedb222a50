#pragma once

#include <ATen/core/Tensor.h>

namespace bertdist {

// input weight' + bias, [rows, in] to [rows, out], float32. The products are computed in `matmul_dtype`. Where weight
// and bias have gradients already, as the views of a flat buffer are, backward adds the weight's in place, by the
// product itself, and calls its post-accumulate hook as autograd would.
at::Tensor trained_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                          at::ScalarType matmul_dtype);

}  // namespace bertdist
