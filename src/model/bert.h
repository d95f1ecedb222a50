#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "model/device_math.h"
#include "model/keyed_dropout.h"
#include "model/module_observer.h"
#include "pretrained/bert_config.h"

namespace bertdist {

struct HiddenDropout;
struct PackedLayout;

// The sequences of a batch laid end to end: no padding, hence no mask.
struct BertInput {
  at::Tensor token_ids;       // int64 [tokens]
  at::Tensor token_type_ids;  // int64 [tokens]
  at::Tensor position_ids;    // int64 [tokens]
  std::vector<std::int32_t>
      cu_seqlens;                     // [batch + 1]: sequence i is the tokens from cu_seqlens[i] to cu_seqlens[i + 1]
  std::vector<std::int64_t> row_ids;  // [batch]: the rows' numbers in the data set, which key their dropout masks
};

struct NamedParameter {
  std::string name;   // Hugging Face's, such as "bert.encoder.layer.0.attention.self.query.weight"
  at::Tensor tensor;  // shared with the model: change its data, gradient and requires_grad, never the handle
};

// What from_pretrained found; the caller tells the user.
struct LoadReport {
  std::vector<std::string> initialized;  // parameters that the files lack, drawn from the seed
  std::vector<std::string> unused;       // tensors of the files that the model has no use for
};

struct PretrainedOptions {
  std::vector<std::string> id2label = {};         // empty: config.json's
  std::string problem_type = {};                  // empty: config.json's
  std::optional<double> classifier_dropout = {};  // unset: config.json's
  std::uint64_t seed = 42;                        // of the head's initial weights
};

// The bottom of the network that training leaves as it is: the embeddings, then `num_layers` layers. It runs without a
// graph for gradients and, unless `dropout`, without dropout.
struct FrozenPrefix {
  bool embeddings = false;
  std::int64_t num_layers = 0;
  bool dropout = false;
  // [num_hidden_layers], or empty where all layers above the prefix are trained: the layers that training leaves as
  // they are, wherever they lie. Above the prefix gradients pass through them; unless `dropout`, they have none either.
  std::vector<bool> frozen_layers = {};
};

// BERT with a pooler and a linear classifier on its [CLS] token, as Hugging Face's class of this name.
class BertForSequenceClassification {
 public:
  // Throws the errors of from_pretrained for a folder whose tensors do not fit its config.json, but for a classifier's,
  // whose labels a training decides. Reads headers alone.
  static void check_pretrained(const std::filesystem::path& folder);

  // Reads config.json and model.safetensors (or the shards of model.safetensors.index.json) of a folder into memory of
  // the model's own. Throws Error(model) that names the file and the tensor.
  static BertForSequenceClassification from_pretrained(const std::filesystem::path& folder,
                                                       const PretrainedOptions& options, LoadReport& report);
  // All weights N(0, initializer_range) from the seed, LayerNorms one, biases zero.
  static BertForSequenceClassification from_config(BertConfig config, std::uint64_t seed);

  BertForSequenceClassification(BertForSequenceClassification&&) = default;
  BertForSequenceClassification& operator=(BertForSequenceClassification&&) = default;
  BertForSequenceClassification(const BertForSequenceClassification&) = delete;
  BertForSequenceClassification& operator=(const BertForSequenceClassification&) = delete;

  const BertConfig& config() const { return config_; }
  // In Hugging Face's order.
  std::vector<NamedParameter>& parameters() { return parameters_; }
  const std::vector<NamedParameter>& parameters() const { return parameters_; }

  // Moves the parameters, which nobody may have taken views of yet, and computes there. Inputs may stay on the host.
  // Where the math's products are not float32, their results stay what they are until they meet float32 numbers. Tests
  // give the CPU as the device, which then is one like any other.
  void use_device(at::Device device, const DeviceMath& math);
  at::Device device() const { return word_embeddings_.device(); }
  bool is_on_device() const { return is_on_device_; }

  void set_frozen_prefix(const FrozenPrefix& prefix) { frozen_ = prefix; }
  const FrozenPrefix& frozen_prefix() const { return frozen_; }
  // Of the layers' matrix products, forward and backward: float32, the default, or bfloat16 on weights, activations and
  // gradients that stay float32.
  void set_matmul_dtype(at::ScalarType dtype) { matmul_dtype_ = dtype; }
  // Who sees what each module computes, forward and, through the tensors' hooks, backward; null, the default: nobody.
  // It must outlive its use here. A FrozenEncoder's layers are not seen.
  void set_observer(ModuleObserver* observer) { observer_ = observer; }
  // Whether what comes out of the frozen prefix's layers is the same for a row at every step of a training, so that it
  // may be computed by a FrozenEncoder, and kept; and whether that is already cls_hidden().
  bool frozen_output_is_constant() const;
  bool cls_hidden_is_constant() const;

  // Without `dropout` nothing is dropped (evaluation). A row's result does not depend on which others share its batch,
  // but for the last bits. A batch may be empty. `frozen_output` is what a FrozenEncoder of the frozen prefix gives for
  // this input: then the prefix is not run. Throws Error(internal) where the input's parts do not fit together.
  at::Tensor logits(const BertInput& input, const std::optional<Dropout>& dropout,
                    const at::Tensor& frozen_output = {}) const;  // [batch, num_labels]

  // What the embeddings and the first `num_layers` layers make of an input, without dropout and graph, in its order:
  // float32 [tokens, hidden], of all layers only [CLS], [batch, hidden]. What a FrozenEncoder on a device does.
  at::Tensor hidden_after(const BertInput& input, std::int64_t num_layers) const;

  // The two halves of logits(): the last layer's output at [CLS], and what follows it.
  at::Tensor cls_hidden(const BertInput& input, const std::optional<Dropout>& dropout,
                        const at::Tensor& frozen_output = {}) const;  // [batch, hidden]
  at::Tensor head_logits(const at::Tensor& cls_hidden, std::span<const std::int64_t> row_ids,
                         const std::optional<Dropout>& dropout) const;  // [batch, num_labels]

  // Writes config.json and model.safetensors, readable by transformers, into a folder that exists; `progress` may be
  // null where no other rank waits. Throws Error(output).
  void save_pretrained(const std::filesystem::path& folder, Progress* progress = nullptr) const;
  void save_config(const std::filesystem::path& folder) const;  // config.json alone

 private:
  struct Linear {
    at::Tensor weight;  // [out, in]
    at::Tensor bias;    // [out]
  };
  struct LayerNorm {
    at::Tensor weight;  // [hidden]
    at::Tensor bias;    // [hidden]
  };
  struct Layer {
    Linear query, key, value;
    Linear attention_output;
    LayerNorm attention_layer_norm;
    Linear intermediate;
    Linear output;
    LayerNorm output_layer_norm;
  };

  BertForSequenceClassification(BertConfig config, std::vector<NamedParameter> parameters);

  PackedLayout layout_of(const BertInput& input) const;
  at::Tensor embed(const BertInput& input, const PackedLayout& layout, const std::optional<Dropout>& dropout) const;
  at::Tensor run_layer(std::int64_t index, const at::Tensor& hidden, const PackedLayout& layout,
                       const std::optional<Dropout>& dropout) const;
  at::Tensor linear(const at::Tensor& input, const Linear& layer) const;
  at::Tensor normalize(const at::Tensor& hidden, const LayerNorm& layer_norm) const;
  at::Tensor add_and_normalize(const at::Tensor& x, const std::optional<HiddenDropout>& dropout,
                               const at::Tensor& residual, const LayerNorm& layer_norm) const;

  BertConfig config_;
  std::vector<NamedParameter> parameters_;
  at::Tensor word_embeddings_;        // [vocab, hidden]
  at::Tensor position_embeddings_;    // [positions, hidden]
  at::Tensor token_type_embeddings_;  // [types, hidden]
  LayerNorm embeddings_layer_norm_;
  std::vector<Layer> layers_;
  Linear pooler_;
  Linear classifier_;
  FrozenPrefix frozen_;
  at::ScalarType matmul_dtype_ = at::kFloat;
  bool is_on_device_ = false;
  AttentionKernel attention_kernel_ = AttentionKernel::by_length;
  ModuleObserver* observer_ = nullptr;
};

}  // namespace bertdist
