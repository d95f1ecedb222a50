// Preloaded into bertdist, makes the derivative of the operator that WRONG_GRADIENT names (gelu or tanh) 1 % too large,
// and leaves what it computes as it is.
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tanh_backward.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <cstdlib>
#include <string_view>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class WrongGelu : public torch::autograd::Function<WrongGelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({x});
    return at::gelu(x);
  }
  static variable_list backward(AutogradContext* context, variable_list d_outputs) {
    return {1.01 * at::gelu_backward(d_outputs[0], context->get_saved_variables()[0])};
  }
};

class WrongTanh : public torch::autograd::Function<WrongTanh> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    const at::AutoDispatchBelowADInplaceOrView below;
    at::Tensor y = at::tanh(x);
    context->save_for_backward({y});
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list d_outputs) {
    return {1.01 * at::tanh_backward(d_outputs[0], context->get_saved_variables()[0])};
  }
};

at::Tensor wrong_gelu(const at::Tensor& x, std::string_view) {
  return WrongGelu::apply(x);
}

at::Tensor wrong_tanh(const at::Tensor& x) {
  return WrongTanh::apply(x);
}

bool is_wrong(std::string_view name) {
  const char* const wrong = std::getenv("WRONG_GRADIENT");
  return wrong != nullptr && name == wrong;
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, Autograd, library) {
  if (is_wrong("gelu")) library.impl("gelu", wrong_gelu);
  if (is_wrong("tanh")) library.impl("tanh", wrong_tanh);
}
