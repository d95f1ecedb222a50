#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/bert.h"
#include "model/forward_kernels.h"
#include "model/packed_linear.h"

namespace bertdist {

// Whether the processor multiplies bfloat16 at twice the rate of float32 (AVX512_BF16 or AMX).
bool processor_multiplies_bfloat16();

// The bottom of a BERT, forward only, without dropout: a copy of its weights laid out for speed. It keeps its weights
// while the model's change. In bfloat16 the matrix products have bfloat16 factors and results, all else is float32. A
// model that is on a device runs there itself, with its own math: it must outlive the encoder, which
// has its weights as they are.
class FrozenEncoder {
 public:
  // The embeddings and the first `num_layers` layers. compute_dtype: float32 or bfloat16. Throws Error(internal) for
  // others, or for a model that has fewer layers.
  FrozenEncoder(const BertForSequenceClassification& model, std::int64_t num_layers, at::ScalarType compute_dtype);

  // Whether this is the whole encoder, of which only [CLS] is wanted.
  bool gives_cls_only() const { return cls_only_; }
  std::int64_t hidden_size() const { return hidden_size_; }
  bool is_on_device() const { return model_ != nullptr; }

  // float32, on the model's device, in the input's order: of the whole encoder [batch, hidden], the last layer's output
  // at [CLS]; of a part of it [tokens, hidden]. Safe to call from several threads at once; inside at::parallel_for it
  // uses one thread, which for many batches is the fastest way. Throws Error(internal) where the input's parts do not
  // fit together.
  at::Tensor forward(const BertInput& input) const;

 private:
  struct Layer {
    PackedLinear query_key_value;  // of the last layer, where only [CLS] is wanted: key and value
    std::vector<PackedLinear> cls_query;
    PackedLinear attention_output;
    LayerNormWeights attention_layer_norm;
    PackedLinear intermediate;
    PackedLinear output;
    LayerNormWeights output_layer_norm;
  };

  // The hidden state of some rows, beyond which there is padding: its float32 value and, for the matrix products, the
  // same in the compute dtype.
  struct Hidden {
    at::Tensor value;
    at::Tensor copy;
  };

  Hidden make_hidden(std::int64_t num_rows) const;
  void run_layer(const Layer& layer, std::span<const std::int32_t> cu_seqlens, Hidden& hidden) const;
  void run_cls_layer(const Layer& layer, std::span<const std::int32_t> cu_seqlens, Hidden& hidden) const;
  void finish_layer(const Layer& layer, const at::Tensor& context, Hidden& hidden) const;

  const BertForSequenceClassification* model_ = nullptr;  // one on a device
  std::int64_t num_layers_;
  at::ScalarType compute_dtype_;
  std::int64_t hidden_size_;
  std::int64_t num_heads_;
  bool cls_only_;
  EmbeddingTables embeddings_;  // shared with the model
  LayerNormWeights embeddings_layer_norm_;
  std::vector<Layer> layers_;
};

}  // namespace bertdist
