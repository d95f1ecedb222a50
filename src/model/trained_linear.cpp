#include "model/trained_linear.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace bertdist {

namespace {

// oneDNN compiles a kernel for each number of rows that it meets, and packed batches have another one each time.
constexpr std::int64_t kRowUnit = 32;

// [rows, columns] in `dtype`, with rows of zeros up to a multiple of kRowUnit where that is not float32.
at::Tensor operand(const at::Tensor& matrix, at::ScalarType dtype) {
  if (dtype == at::kFloat) return matrix;
  const std::int64_t rows = matrix.size(0), padded = (rows + kRowUnit - 1) / kRowUnit * kRowUnit;
  at::Tensor result = at::empty({padded, matrix.size(1)}, matrix.options().dtype(dtype));
  result.narrow(0, 0, rows).copy_(matrix);
  if (padded > rows) result.narrow(0, rows, padded - rows).zero_();
  return result;
}

at::Tensor float_rows(const at::Tensor& product, std::int64_t rows) {
  return product.narrow(0, 0, rows).to(at::kFloat);
}

void call_ready_hook(const at::Tensor& parameter) {
  const auto& hook = torch::autograd::impl::post_acc_grad_hooks(parameter);
  if (hook) (*hook)(parameter);
}

// Hidden from autograd, which would call the hooks of a gradient that it does not get, or not, by its version. The
// bias keeps the output in the graph where the input is a constant.
struct Weight {
  at::Tensor parameter;
};

class TrainedLinear : public torch::autograd::Function<TrainedLinear> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input, const at::Tensor& bias,
                            const Weight& weight, at::ScalarType dtype) {
    if (dtype == at::kFloat) {
      context->save_for_backward({input, weight.parameter});
      return at::linear(input, weight.parameter, bias);
    }
    const at::Tensor x = operand(input, dtype), w = weight.parameter.to(dtype);
    context->save_for_backward({x, weight.parameter, w});
    return float_rows(at::linear(x, w, bias.to(dtype)), input.size(0));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &w = saved.back();
    const bool is_float = x.scalar_type() == at::kFloat;
    const at::Tensor d = operand(d_outputs[0], x.scalar_type());
    if (is_float) {
      weight.mutable_grad().addmm_(d.t(), x);
    } else {
      weight.mutable_grad().add_(at::mm(d.t(), x));
    }
    call_ready_hook(weight);
    at::Tensor d_input;
    if (context->needs_input_grad(0)) d_input = at::mm(d, w);
    if (d_input.defined() && !is_float) d_input = float_rows(d_input, d_outputs[0].size(0));
    return {d_input, d_outputs[0].sum(0), {}, {}};
  }
};

bool keeps_gradient(const at::Tensor& parameter) {
  return parameter.requires_grad() && parameter.is_leaf() && parameter.grad().defined();
}

}  // namespace

at::Tensor trained_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                          at::ScalarType matmul_dtype) {
  if (c10::GradMode::is_enabled() && keeps_gradient(weight) && keeps_gradient(bias)) {
    return TrainedLinear::apply(input, bias, Weight{weight}, matmul_dtype);
  }
  if (matmul_dtype == at::kFloat) return at::linear(input, weight, bias);
  return at::linear(input.to(matmul_dtype), weight.to(matmul_dtype), bias.to(matmul_dtype)).to(at::kFloat);
}

}  // namespace bertdist
