#include "model/frozen_encoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/core.h>

#include <map>
#include <string>
#include <utility>

#include "base/error.h"

namespace bertdist {

namespace {

// Matrix products get whole multiples of this many rows: oneDNN prepares a kernel for each number of rows that it
// meets, and a product of very few rows would be computed in another way, with other last bits.
constexpr std::int64_t kRowMultiple = 32;

std::int64_t padded(std::int64_t num_rows) {
  return (num_rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
}

// The model's weights by their names, without what belongs to autograd.
class Weights {
 public:
  explicit Weights(const BertForSequenceClassification& model) : layer_norm_eps_(model.config().layer_norm_eps) {
    for (const NamedParameter& parameter : model.parameters()) tensors_[parameter.name] = parameter.tensor.detach();
  }

  const at::Tensor& operator[](const std::string& name) const { return tensors_.at("bert." + name); }
  LayerNormWeights layer_norm(const std::string& module) const {
    return {(*this)[module + ".weight"].clone(), (*this)[module + ".bias"].clone(), layer_norm_eps_};
  }
  PackedLinear linear(const std::vector<std::string>& modules, at::ScalarType dtype,
                      const std::string& hidden_act = "") const {
    std::vector<at::Tensor> weights, biases;
    for (const std::string& module : modules) {
      weights.push_back((*this)[module + ".weight"]);
      biases.push_back((*this)[module + ".bias"]);
    }
    return PackedLinear(at::cat(weights), at::cat(biases), dtype, hidden_act);
  }

 private:
  double layer_norm_eps_;
  std::map<std::string, at::Tensor> tensors_;
};

void require_fitting(const BertInput& input) {
  const std::int64_t num_tokens = input.token_ids.numel();
  const std::vector<std::int32_t>& ends = input.cu_seqlens;
  const bool fits = input.token_type_ids.numel() == num_tokens && input.position_ids.numel() == num_tokens &&
                    !ends.empty() && ends.front() == 0 && ends.back() == num_tokens &&
                    std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()) == ends.end();
  if (!fits) throw Error(ExitCode::internal, "the parts of a batch do not fit together");
}

}  // namespace

bool processor_multiplies_bfloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

FrozenEncoder::FrozenEncoder(const BertForSequenceClassification& model, std::int64_t num_layers,
                             at::ScalarType compute_dtype)
    : num_layers_(num_layers),
      compute_dtype_(compute_dtype),
      hidden_size_(model.config().hidden_size),
      num_heads_(model.config().num_attention_heads),
      cls_only_(num_layers == model.config().num_hidden_layers) {
  if (compute_dtype != at::kFloat && compute_dtype != at::kBFloat16) {
    throw Error(ExitCode::internal, fmt::format("no forward-only pass in {}", c10::toString(compute_dtype)));
  }
  if (num_layers > model.config().num_hidden_layers) {
    throw Error(ExitCode::internal, fmt::format("the model has no {} layers", num_layers));
  }
  if (model.is_on_device()) {
    model_ = &model;
    return;
  }
  const c10::NoGradGuard no_grad;
  const Weights weights(model);
  embeddings_ = {weights["embeddings.word_embeddings.weight"], weights["embeddings.position_embeddings.weight"],
                 weights["embeddings.token_type_embeddings.weight"]};
  embeddings_layer_norm_ = weights.layer_norm("embeddings.LayerNorm");
  for (std::int64_t index = 0; index < num_layers; ++index) {
    const std::string name = fmt::format("encoder.layer.{}.", index);
    const std::string self = name + "attention.self.";
    const bool for_cls = cls_only_ && index + 1 == num_layers;
    std::vector<PackedLinear> cls_query;
    if (for_cls) cls_query.push_back(weights.linear({self + "query"}, compute_dtype));
    const std::vector<std::string> all = {self + "query", self + "key", self + "value"};
    layers_.push_back(
        {.query_key_value = weights.linear({all.begin() + (for_cls ? 1 : 0), all.end()}, compute_dtype),
         .cls_query = std::move(cls_query),
         .attention_output = weights.linear({name + "attention.output.dense"}, compute_dtype),
         .attention_layer_norm = weights.layer_norm(name + "attention.output.LayerNorm"),
         .intermediate = weights.linear({name + "intermediate.dense"}, compute_dtype, model.config().hidden_act),
         .output = weights.linear({name + "output.dense"}, compute_dtype),
         .output_layer_norm = weights.layer_norm(name + "output.LayerNorm")});
  }
}

FrozenEncoder::Hidden FrozenEncoder::make_hidden(std::int64_t num_rows) const {
  const at::Tensor value = at::zeros({padded(num_rows), hidden_size_}, at::kFloat);
  return {value, compute_dtype_ == at::kFloat ? value : at::zeros(value.sizes(), compute_dtype_)};
}

void FrozenEncoder::run_layer(const Layer& layer, std::span<const std::int32_t> cu_seqlens, Hidden& hidden) const {
  at::Tensor projected = layer.query_key_value(hidden.copy);
  at::Tensor context = at::zeros_like(hidden.copy);
  attention(projected.narrow(1, 0, hidden_size_), projected.narrow(1, hidden_size_, hidden_size_),
            projected.narrow(1, 2 * hidden_size_, hidden_size_), cu_seqlens, num_heads_, false, context);
  projected.reset();  // its memory is taken next
  finish_layer(layer, context, hidden);
}

void FrozenEncoder::run_cls_layer(const Layer& layer, std::span<const std::int32_t> cu_seqlens, Hidden& hidden) const {
  const std::int64_t num_rows = std::ssize(cu_seqlens) - 1;
  const at::Tensor first_tokens =
      at::tensor(at::ArrayRef<std::int32_t>(cu_seqlens.data(), static_cast<std::size_t>(num_rows)), at::kInt);
  Hidden cls = make_hidden(num_rows);
  cls.value.narrow(0, 0, num_rows).copy_(hidden.value.index_select(0, first_tokens));
  if (compute_dtype_ != at::kFloat) {
    cls.copy.narrow(0, 0, num_rows).copy_(hidden.copy.index_select(0, first_tokens));
  }
  const at::Tensor key_value = layer.query_key_value(hidden.copy);
  const at::Tensor query = layer.cls_query.front()(cls.copy);
  at::Tensor context = at::zeros_like(cls.copy);
  attention(query, key_value.narrow(1, 0, hidden_size_), key_value.narrow(1, hidden_size_, hidden_size_), cu_seqlens,
            num_heads_, true, context);
  finish_layer(layer, context, cls);
  hidden = std::move(cls);
}

void FrozenEncoder::finish_layer(const Layer& layer, const at::Tensor& context, Hidden& hidden) const {
  add_layer_norm(layer.attention_output(context), layer.attention_layer_norm, hidden.value, hidden.copy);
  add_layer_norm(layer.output(layer.intermediate(hidden.copy)), layer.output_layer_norm, hidden.value, hidden.copy);
}

at::Tensor FrozenEncoder::forward(const BertInput& input) const {
  const c10::NoGradGuard no_grad;
  if (model_ != nullptr) return model_->hidden_after(input, num_layers_);
  require_fitting(input);
  const std::int64_t num_tokens = input.token_ids.numel();
  const std::int64_t num_rows = std::ssize(input.cu_seqlens) - 1;
  if (num_tokens == 0) return at::zeros({0, hidden_size_}, at::kFloat);
  Hidden hidden = make_hidden(num_tokens);
  embed_layer_norm(embeddings_, input.token_ids, input.position_ids, input.token_type_ids, embeddings_layer_norm_,
                   hidden.value, hidden.copy);
  for (const Layer& layer : layers_) {
    if (layer.cls_query.empty()) {
      run_layer(layer, input.cu_seqlens, hidden);
    } else {
      run_cls_layer(layer, input.cu_seqlens, hidden);
    }
  }
  return hidden.value.narrow(0, 0, cls_only_ ? num_rows : num_tokens);
}

}  // namespace bertdist
