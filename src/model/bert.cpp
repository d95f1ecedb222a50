#include "model/bert.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/core.h>

#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "model/activation.h"
#include "model/attention.h"
#include "model/initial_parameter.h"
#include "model/safetensors.h"
#include "model/trained_layer_norm.h"
#include "model/trained_linear.h"
#include "model/upload.h"
#include "model/word_embedding.h"

namespace bertdist {

namespace {

// The parameters in the order in which bert_parameter_specs names them.
class Taker {
 public:
  explicit Taker(const std::vector<NamedParameter>& parameters) : parameters_(parameters) {}

  at::Tensor next() { return parameters_.at(index_++).tensor; }
  template <typename Pair>
  Pair next_pair() {
    at::Tensor weight = next();
    return {std::move(weight), next()};
  }

 private:
  const std::vector<NamedParameter>& parameters_;
  std::size_t index_ = 0;
};

}  // namespace

BertForSequenceClassification::BertForSequenceClassification(BertConfig config, std::vector<NamedParameter> parameters)
    : config_(std::move(config)), parameters_(std::move(parameters)) {
  Taker taker(parameters_);
  word_embeddings_ = taker.next();
  position_embeddings_ = taker.next();
  token_type_embeddings_ = taker.next();
  embeddings_layer_norm_ = taker.next_pair<LayerNorm>();
  for (std::int64_t index = 0; index < config_.num_hidden_layers; ++index) {
    Layer& layer = layers_.emplace_back();
    layer.query = taker.next_pair<Linear>();
    layer.key = taker.next_pair<Linear>();
    layer.value = taker.next_pair<Linear>();
    layer.attention_output = taker.next_pair<Linear>();
    layer.attention_layer_norm = taker.next_pair<LayerNorm>();
    layer.intermediate = taker.next_pair<Linear>();
    layer.output = taker.next_pair<Linear>();
    layer.output_layer_norm = taker.next_pair<LayerNorm>();
  }
  pooler_ = taker.next_pair<Linear>();
  classifier_ = taker.next_pair<Linear>();
}

void BertForSequenceClassification::use_device(at::Device device, const DeviceMath& math) {
  for (NamedParameter& parameter : parameters_) parameter.tensor.set_data(parameter.tensor.detach().to(device));
  is_on_device_ = true;
  matmul_dtype_ = math.matmul_dtype;
  attention_kernel_ = math.attention;
}

bool BertForSequenceClassification::frozen_output_is_constant() const {
  const bool drops = config_.hidden_dropout_prob > 0 || config_.attention_probs_dropout_prob > 0;
  return frozen_.embeddings && frozen_.num_layers > 0 && !(frozen_.dropout && drops);
}

bool BertForSequenceClassification::cls_hidden_is_constant() const {
  return frozen_output_is_constant() && frozen_.num_layers == config_.num_hidden_layers;
}

at::Tensor BertForSequenceClassification::normalize(const at::Tensor& hidden, const LayerNorm& layer_norm) const {
  return at::layer_norm(hidden, {config_.hidden_size}, layer_norm.weight, layer_norm.bias, config_.layer_norm_eps);
}

at::Tensor BertForSequenceClassification::add_and_normalize(const at::Tensor& x,
                                                            const std::optional<HiddenDropout>& dropout,
                                                            const at::Tensor& residual,
                                                            const LayerNorm& layer_norm) const {
  if (!is_on_device_ && x.scalar_type() == at::kFloat) {
    return dropout_add_layer_norm(x, residual, layer_norm.weight, layer_norm.bias, config_.layer_norm_eps, dropout);
  }
  if (!dropout) return normalize(x + residual, layer_norm);
  return normalize(
      keyed_dropout(x, dropout->p, dropout->dropout, dropout->site, dropout->row_ids, dropout->offsets) + residual,
      layer_norm);
}

at::Tensor BertForSequenceClassification::linear(const at::Tensor& input, const Linear& layer) const {
  if (!is_on_device_) return trained_linear(input, layer.weight, layer.bias, matmul_dtype_);
  return at::linear(input.to(matmul_dtype_), layer.weight.to(matmul_dtype_), layer.bias.to(matmul_dtype_));
}

PackedLayout BertForSequenceClassification::layout_of(const BertInput& input) const {
  const std::int64_t num_tokens = input.token_ids.numel();
  if (input.token_type_ids.numel() != num_tokens || input.position_ids.numel() != num_tokens) {
    throw Error(ExitCode::internal, "token_ids, token_type_ids and position_ids differ in length");
  }
  return make_layout(input.cu_seqlens, input.row_ids, num_tokens, device(), attention_kernel_);
}

at::Tensor BertForSequenceClassification::embed(const BertInput& input, const PackedLayout& layout,
                                                const std::optional<Dropout>& dropout) const {
  const auto in_order = [&](const at::Tensor& ids) {
    return upload(ids, device()).index_select(0, layout.token_order);
  };
  const auto look_up = [&](const at::Tensor& table, const at::Tensor& ids) {
    return at::embedding(table, in_order(ids));
  };
  const at::Tensor words =
      word_embedding(word_embeddings_, in_order(input.token_ids), config_.pad_token_id.value_or(-1));
  const at::Tensor types = look_up(token_type_embeddings_, input.token_type_ids);
  const at::Tensor positions = look_up(position_embeddings_, input.position_ids);
  const at::Tensor hidden = normalize(words + types + positions, embeddings_layer_norm_);
  if (observer_ != nullptr) {
    const ObservedRows rows{layout.row_ids, layout.offsets};
    constexpr std::string_view kLayerNorm = "bert.embeddings.LayerNorm";
    observer_->observe("bert.embeddings.word_embeddings", words, kLayerNorm, rows);
    observer_->observe("bert.embeddings.token_type_embeddings", types, kLayerNorm, rows);
    observer_->observe("bert.embeddings.position_embeddings", positions, kLayerNorm, rows);
    observer_->observe(kLayerNorm, hidden, "bert.encoder.layer.0.attention", rows);
  }
  if (!dropout) return hidden;
  return keyed_dropout(hidden, config_.hidden_dropout_prob, *dropout, DropoutSite::embeddings(), layout.row_ids,
                       layout.element_offsets(config_.hidden_size, false));
}

// [tokens, hidden] to the same; of the last layer only what [CLS] needs, [batch, hidden]: every token's key and value,
// but the query and all that follows of the first tokens alone.
at::Tensor BertForSequenceClassification::run_layer(std::int64_t index, const at::Tensor& hidden,
                                                    const PackedLayout& layout,
                                                    const std::optional<Dropout>& dropout) const {
  const Layer& layer = layers_[index];
  const bool first_token_only = index + 1 == config_.num_hidden_layers;
  const std::vector<std::int64_t> offsets = layout.element_offsets(config_.hidden_size, first_token_only);
  const auto drop_at = [&](DropoutSite site) -> std::optional<HiddenDropout> {
    if (!dropout) return std::nullopt;
    return HiddenDropout{config_.hidden_dropout_prob, *dropout, site, layout.row_ids, offsets};
  };
  const auto observe = [&](std::string_view module, const at::Tensor& output, std::string_view used_by) {
    if (observer_ == nullptr) return;
    const std::string layer_name = fmt::format("bert.encoder.layer.{}.", index);
    observer_->observe(layer_name + std::string(module), output, layer_name + std::string(used_by),
                       {layout.row_ids, layout.offsets});
  };
  std::optional<AttentionDropout> attention_dropout;
  if (dropout && config_.attention_probs_dropout_prob > 0) {
    attention_dropout = {config_.attention_probs_dropout_prob, *dropout, DropoutSite::attention_probs(index)};
  }

  const at::Tensor input = first_token_only ? hidden.index_select(0, layout.first_tokens) : hidden;
  const at::Tensor tokens = is_on_device_ ? hidden.to(matmul_dtype_) : hidden;
  const at::Tensor query = linear(first_token_only ? input : tokens, layer.query);
  const at::Tensor key = linear(tokens, layer.key);
  const at::Tensor value = linear(tokens, layer.value);
  observe("attention.self.query", query, "attention.self");
  observe("attention.self.key", key, "attention.self");
  observe("attention.self.value", value, "attention.self");
  const at::Tensor context =
      packed_attention(query, key, value, layout, config_.num_attention_heads, first_token_only, attention_dropout);
  observe("attention.self", context, "attention.output.dense");
  const at::Tensor projected = linear(context, layer.attention_output);
  observe("attention.output.dense", projected, "attention.output.LayerNorm");
  const at::Tensor attended =
      add_and_normalize(projected, drop_at(DropoutSite::attention_output(index)), input, layer.attention_layer_norm);
  observe("attention.output.LayerNorm", attended, "intermediate.dense");

  at::Tensor intermediate = linear(attended, layer.intermediate);
  observe("intermediate.dense", intermediate, "intermediate");
  intermediate = activate(intermediate, config_.hidden_act);
  observe("intermediate", intermediate, "output.dense");
  const at::Tensor output = linear(intermediate, layer.output);
  observe("output.dense", output, "output.LayerNorm");
  const at::Tensor result =
      add_and_normalize(output, drop_at(DropoutSite::output(index)), attended, layer.output_layer_norm);
  if (observer_ != nullptr) {
    const std::string next =
        first_token_only ? "bert.pooler.dense" : fmt::format("bert.encoder.layer.{}.attention", index + 1);
    observer_->observe(fmt::format("bert.encoder.layer.{}.output.LayerNorm", index), result, next,
                       {layout.row_ids, layout.offsets});
  }
  return result;
}

at::Tensor BertForSequenceClassification::cls_hidden(const BertInput& input, const std::optional<Dropout>& dropout,
                                                     const at::Tensor& frozen_output) const {
  if (frozen_output.defined() && frozen_.num_layers == config_.num_hidden_layers) return frozen_output;
  const PackedLayout layout = layout_of(input);
  if (layout.batch_size() == 0) return at::zeros({0, config_.hidden_size}, word_embeddings_.options());

  const std::optional<Dropout> frozen_dropout = frozen_.dropout ? dropout : std::nullopt;
  const bool record = c10::GradMode::is_enabled();
  at::Tensor hidden;
  if (frozen_output.defined()) {
    hidden = frozen_output.index_select(0, layout.token_order);
  } else {
    const c10::AutoGradMode grad_mode(record && !frozen_.embeddings);
    hidden = embed(input, layout, frozen_.embeddings ? frozen_dropout : dropout);
  }
  for (std::int64_t index = frozen_output.defined() ? frozen_.num_layers : 0; index < config_.num_hidden_layers;
       ++index) {
    const bool in_prefix = index < frozen_.num_layers;
    const bool frozen = in_prefix || (!frozen_.frozen_layers.empty() && frozen_.frozen_layers[index]);
    const c10::AutoGradMode grad_mode(record && !in_prefix);
    hidden = run_layer(index, hidden, layout, frozen ? frozen_dropout : dropout);
  }
  return hidden.index_select(0, layout.row_restore);
}

at::Tensor BertForSequenceClassification::hidden_after(const BertInput& input, std::int64_t num_layers) const {
  const c10::NoGradGuard no_grad;
  const PackedLayout layout = layout_of(input);
  if (layout.batch_size() == 0) return at::zeros({0, config_.hidden_size}, word_embeddings_.options());
  at::Tensor hidden = embed(input, layout, std::nullopt);
  for (std::int64_t index = 0; index < num_layers; ++index) hidden = run_layer(index, hidden, layout, std::nullopt);
  if (num_layers == config_.num_hidden_layers) return hidden.index_select(0, layout.row_restore);
  return at::empty_like(hidden).index_copy_(0, layout.token_order, hidden);
}

at::Tensor BertForSequenceClassification::head_logits(const at::Tensor& cls_hidden,
                                                      std::span<const std::int64_t> row_ids,
                                                      const std::optional<Dropout>& dropout) const {
  if (cls_hidden.size(0) != static_cast<std::int64_t>(row_ids.size())) {
    throw Error(ExitCode::internal, "cls_hidden and row_ids differ in length");
  }
  const at::Tensor projected = at::linear(cls_hidden, pooler_.weight, pooler_.bias);
  const at::Tensor pooled = at::tanh(projected);
  const at::Tensor dropped =
      dropout ? keyed_dropout(pooled, config_.head_dropout_prob(), *dropout, DropoutSite::classifier(), row_ids)
              : pooled;
  at::Tensor logits = at::linear(dropped, classifier_.weight, classifier_.bias);
  if (observer_ != nullptr) {
    observer_->observe("bert.pooler.dense", projected, "bert.pooler", {row_ids, {}});
    observer_->observe("bert.pooler", pooled, "classifier", {row_ids, {}});
    observer_->observe("classifier", logits, "the loss", {row_ids, {}});
  }
  return logits;
}

at::Tensor BertForSequenceClassification::logits(const BertInput& input, const std::optional<Dropout>& dropout,
                                                 const at::Tensor& frozen_output) const {
  return head_logits(cls_hidden(input, dropout, frozen_output), input.row_ids, dropout);
}

void BertForSequenceClassification::save_config(const std::filesystem::path& folder) const {
  const std::string config = config_.to_json().dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  write_file_atomically(folder / "config.json", config + "\n");
}

void BertForSequenceClassification::save_pretrained(const std::filesystem::path& folder, Progress* progress) const {
  save_config(folder);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const NamedParameter& parameter : parameters_) tensors.emplace_back(parameter.name, parameter.tensor);
  save_safetensors(folder / "model.safetensors", tensors, progress);
}

}  // namespace bertdist
