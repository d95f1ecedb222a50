#include "model/activation.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/vector_lanes.h"

namespace bertdist {

namespace {

// x Phi(x) and Phi(x) + x phi(x), Phi being the normal distribution by Abramowitz and Stegun's formula 7.1.26 for the
// error function, which is off by 1.5e-7 at most.
template <std::int64_t lanes>
[[gnu::always_inline]] inline void gelu(Floats<lanes>& x, Floats<lanes>& derivative) {
  using Vector = Floats<lanes>;
  constexpr float kSqrtHalf = 0.70710678f, kInverseSqrt2Pi = 0.39894228f;
  const Vector magnitude = x < 0.0f ? -x : x;
  const Vector t = 1.0f / (1.0f + 0.3275911f * kSqrtHalf * magnitude);
  Vector gauss = -0.5f * x * x;
  exponential<lanes>(gauss);
  Vector sum = t * 1.061405429f - 1.453152027f;
  sum = sum * t + 1.421413741f;
  sum = sum * t - 0.284496736f;
  sum = sum * t + 0.254829592f;
  const Vector tail = 0.5f * sum * t * gauss;
  const Vector normal = x < 0.0f ? tail : 1.0f - tail;
  derivative = normal + x * (gauss * kInverseSqrt2Pi);
  x *= normal;
}

struct Gelu {
  template <std::int64_t lanes>
  [[gnu::always_inline]] static void run(const float* x, std::int64_t count, float* out, float* derivative) {
    Floats<lanes> value, slope;
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      load<lanes>(x + i, value);
      gelu<lanes>(value, slope);
      store<lanes>(value, out + i);
      if (derivative != nullptr) store<lanes>(slope, derivative + i);
    }
    if (i == count) return;
    value = Floats<lanes>{};
    for (std::int64_t lane = 0; i + lane < count; ++lane) value[lane] = x[i + lane];
    gelu<lanes>(value, slope);
    for (std::int64_t lane = 0; i + lane < count; ++lane) {
      out[i + lane] = value[lane];
      if (derivative != nullptr) derivative[i + lane] = slope[lane];
    }
  }
};

// `derivative` may be undefined.
at::Tensor gelu_with_derivative(const at::Tensor& x, const at::Tensor& derivative) {
  constexpr std::int64_t kGrain = 4096;
  at::Tensor result = at::empty_like(x);
  const float* in = x.const_data_ptr<float>();
  float* out = result.mutable_data_ptr<float>();
  float* slope = derivative.defined() ? derivative.mutable_data_ptr<float>() : nullptr;
  at::parallel_for(0, x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    run_kernel<Gelu>(in + begin, end - begin, out + begin, slope == nullptr ? nullptr : slope + begin);
  });
  return result;
}

class TrainedGelu : public torch::autograd::Function<TrainedGelu> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    at::Tensor derivative = at::empty_like(x);
    at::Tensor result = gelu_with_derivative(x, derivative);
    context->save_for_backward({derivative});
    return result;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outputs) {
    return {d_outputs[0] * context->get_saved_variables()[0]};
  }
};

at::Tensor erf_gelu(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat) return at::gelu(x);
  if (c10::GradMode::is_enabled() && x.requires_grad()) return TrainedGelu::apply(x.contiguous());
  return gelu_with_derivative(x.contiguous(), {});
}

}  // namespace

at::Tensor activate(const at::Tensor& x, const std::string& hidden_act) {
  if (hidden_act == "gelu" || hidden_act == "gelu_python") return erf_gelu(x);
  if (hidden_act == "relu") return at::relu(x);
  if (hidden_act == "silu" || hidden_act == "swish") return at::silu(x);
  return at::gelu(x, "tanh");  // gelu_new, gelu_fast, gelu_pytorch_tanh, gelu_python_tanh: one formula, many names
}

}  // namespace bertdist
