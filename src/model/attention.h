#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/keyed_dropout.h"
#include "model/varlen_attention.h"

namespace bertdist {

// Sequences that lie side by side and have equal lengths, so that attention sees them as one dense tensor.
struct EqualLengthGroup {
  std::int64_t first_row;
  std::int64_t num_rows;
  std::int64_t length;
  std::int64_t first_token;
};

// How the model arranges a batch: its rows sorted by length. Everything below is in that order.
struct PackedLayout {
  std::vector<EqualLengthGroup> groups;
  std::vector<std::int64_t> row_ids;  // [batch]
  std::vector<std::int64_t> offsets;  // [batch + 1] in tokens
  at::Tensor token_order;             // int64 [tokens]: from the caller's order to this one
  at::Tensor first_tokens;            // int64 [batch]: where each row's [CLS] lies
  at::Tensor row_restore;             // int64 [batch]: from this order back to the caller's
  AttentionKernel kernel = AttentionKernel::by_length;
  Sequences all_tokens;     // where the kernel is another one: of the rows,
  Sequences single_tokens;  // and of rows of one token each
  std::int64_t batch_size() const { return static_cast<std::int64_t>(row_ids.size()); }

  // `offsets` of a tensor that has `width` elements for each token, or, `first_token_only`, for each row.
  std::vector<std::int64_t> element_offsets(std::int64_t width, bool first_token_only) const;
};

// Throws Error(internal) unless cu_seqlens rises from 0 to num_tokens and has one entry more than row_ids. The index
// tensors are made on `device`, for attention by `kernel`.
PackedLayout make_layout(std::span<const std::int32_t> cu_seqlens, std::span<const std::int64_t> row_ids,
                         std::int64_t num_tokens, at::Device device,
                         AttentionKernel kernel = AttentionKernel::by_length);

struct AttentionDropout {
  double p;
  Dropout dropout;
  DropoutSite site;
};

// What seeds the generator of a kernel that drops probabilities itself, whose masks are not keyed_dropout's: besides
// step and layer the first row of the batch, so that ranks, and batches that are accumulated, have masks of their own.
std::uint64_t generator_seed(const AttentionDropout& dropout, std::int64_t first_row_id);

// Softmax attention within each sequence. key and value are [tokens, hidden]; query is the same for every token, or
// [batch, hidden] for the first token of each sequence alone. Returns query's shape. The kernel that goes by length
// drops with keyed masks; it is what the others are compared with.
at::Tensor packed_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const PackedLayout& layout, std::int64_t num_heads, bool first_token_only,
                            const std::optional<AttentionDropout>& dropout);

}  // namespace bertdist
