#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace bertdist {

// config.json's hidden_act of x. Where it is GELU by the error function and x float32 on the CPU, the derivative is
// computed with the value and kept for backward: both need the same exponential.
at::Tensor activate(const at::Tensor& x, const std::string& hidden_act);

}  // namespace bertdist
