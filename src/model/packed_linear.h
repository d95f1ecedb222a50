#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace bertdist {

// y = activation(x W^T + b), forward only, with the weight laid out once as oneDNN's kernels want it and the activation
// inside the product; where libtorch has no oneDNN for the processor or the dtype, its plain operators.
class PackedLinear {
 public:
  // Copies: weight [out, in] and bias [out] of any floating dtype. hidden_act is a name of config.json, or empty for
  // none. x and y are of `dtype`: float32 or bfloat16.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype, const std::string& hidden_act);

  at::Tensor operator()(const at::Tensor& x) const;  // [rows, in] to [rows, out]

 private:
  at::Tensor weight_;
  at::Tensor bias_;
  std::string hidden_act_;
  bool packed_;
};

}  // namespace bertdist
