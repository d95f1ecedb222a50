#include "model/packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <utility>

#include "model/activation.h"

namespace bertdist {

namespace {

// libtorch has no C++ functions for these two, only their names in the dispatcher.
using ReorderWeight = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
using LinearPointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                                   std::string_view, c10::List<std::optional<at::Scalar>>,
                                   std::optional<std::string_view>);

template <typename Signature>
std::optional<c10::TypedOperatorHandle<Signature>> find_operator(const char* name) {
  const auto found = c10::Dispatcher::singleton().findSchema({name, ""});
  return found ? std::optional(found->typed<Signature>()) : std::nullopt;
}

// For how many rows oneDNN chooses the weight's layout; it fits other numbers too.
constexpr std::int64_t kUsualRows = 2048;

// oneDNN's name and algorithm of an activation.
std::pair<std::string_view, std::optional<std::string_view>> fused_activation(const std::string& hidden_act) {
  if (hidden_act.empty()) return {"none", std::nullopt};
  if (hidden_act == "gelu" || hidden_act == "gelu_python") return {"gelu", "none"};
  if (hidden_act == "relu") return {"relu", std::nullopt};
  if (hidden_act == "silu" || hidden_act == "swish") return {"swish", std::nullopt};
  return {"gelu", "tanh"};
}

at::Tensor linear_pointwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const std::string& hidden_act) {
  static const auto linear = find_operator<LinearPointwise>("mkldnn::_linear_pointwise").value();
  const auto [name, algorithm] = fused_activation(hidden_act);
  return linear.call(x, weight, bias, name, c10::List<std::optional<at::Scalar>>(), algorithm);
}

}  // namespace

PackedLinear::PackedLinear(const at::Tensor& weight, const at::Tensor& bias, at::ScalarType dtype,
                           const std::string& hidden_act)
    : weight_(weight.detach().to(dtype)), bias_(bias.detach().to(dtype)), hidden_act_(hidden_act), packed_(false) {
  const auto reorder = find_operator<ReorderWeight>("mkldnn::_reorder_linear_weight");
  if (!reorder || !at::globalContext().userEnabledMkldnn()) return;
  try {
    const at::Tensor packed_weight = reorder->call(weight_, c10::SymInt(kUsualRows));
    linear_pointwise(at::zeros({1, weight.size(1)}, weight_.options()), packed_weight, bias_, hidden_act_);
    weight_ = packed_weight;
    packed_ = true;
  } catch (const c10::Error&) {  // a processor without the instructions for this dtype
  }
}

at::Tensor PackedLinear::operator()(const at::Tensor& x) const {
  if (packed_) return linear_pointwise(x, weight_, bias_, hidden_act_);
  const at::Tensor product = at::linear(x, weight_, bias_);
  return hidden_act_.empty() ? product : activate(product, hidden_act_);
}

}  // namespace bertdist
