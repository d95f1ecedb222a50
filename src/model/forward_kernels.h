#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace bertdist {

// What the forward-only pass does beside its matrix products, on the CPU and without a graph. "compute dtype" is
// float32 or bfloat16; every sum is float32. Tensors of the compute dtype may have more rows than are used.

// Softmax attention within each sequence, for short sequences: all scores of a few queries are held at once.
// key and value: [tokens, hidden] of the compute dtype, their rows possibly apart (columns of a wider matrix). query
// the same, or, `first_token_only`, one row for each sequence. Writes the first rows of `context`, in query's order.
void attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
               std::span<const std::int32_t> cu_seqlens, std::int64_t num_heads, bool first_token_only,
               at::Tensor& context);

struct LayerNormWeights {
  at::Tensor weight;  // float32 [hidden]
  at::Tensor bias;    // float32 [hidden]
  double eps;
};

// hidden = LayerNorm(x + hidden), and `copy` the same in the compute dtype. x and copy: [rows, hidden] of the compute
// dtype, hidden: float32; all contiguous. Where the compute dtype is float32, copy is hidden itself.
void add_layer_norm(const at::Tensor& x, const LayerNormWeights& layer_norm, at::Tensor& hidden, at::Tensor& copy);

struct EmbeddingTables {
  at::Tensor words, positions, token_types;  // float32 [ids, hidden]
};

// The first ids.numel() rows of hidden = LayerNorm(the three embeddings of each token), and of copy as above. Throws
// Error(internal) for an id that a table lacks.
void embed_layer_norm(const EmbeddingTables& tables, const at::Tensor& token_ids, const at::Tensor& position_ids,
                      const at::Tensor& token_type_ids, const LayerNormWeights& layer_norm, at::Tensor& hidden,
                      at::Tensor& copy);

}  // namespace bertdist
