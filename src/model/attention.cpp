#include "model/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"
#include "model/trained_attention.h"
#include "model/upload.h"

namespace bertdist {

namespace {

at::Tensor index_tensor(const std::vector<std::int64_t>& values, at::Device device) {
  return upload(at::tensor(values, at::kLong), device);
}

Sequences make_sequences(const std::vector<std::int64_t>& offsets, std::int64_t max_seqlen, at::Device device) {
  return {upload(at::tensor(offsets, at::kInt), device), max_seqlen};
}

at::Tensor split_heads(const at::Tensor& packed, std::int64_t num_rows, std::int64_t length, std::int64_t num_heads) {
  return packed.view({num_rows, length, num_heads, packed.size(1) / num_heads}).transpose(1, 2);
}

// query [rows, heads, queries, head_dim], key and value [rows, heads, length, head_dim]
at::Tensor attention_with_dropout(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                  const AttentionDropout& dropout, std::span<const std::int64_t> row_ids) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(query.size(-1)));
  const at::Tensor scores = at::matmul(query * scale, key.transpose(-2, -1));
  const at::Tensor probs = at::softmax(scores, -1);
  return at::matmul(keyed_dropout(probs, dropout.p, dropout.dropout, dropout.site, row_ids), value);
}

at::Tensor attention_by_kernel(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                               const PackedLayout& layout, std::int64_t num_heads, bool first_token_only,
                               const std::optional<AttentionDropout>& dropout) {
  const auto heads_of = [&](const at::Tensor& x) { return x.view({x.size(0), num_heads, x.size(1) / num_heads}); };
  std::optional<VarlenDropout> varlen_dropout;
  if (dropout) varlen_dropout = {dropout->p, generator_seed(*dropout, layout.row_ids.front())};
  return varlen_attention(layout.kernel, heads_of(query), heads_of(key), heads_of(value),
                          first_token_only ? layout.single_tokens : layout.all_tokens, layout.all_tokens,
                          varlen_dropout)
      .reshape(query.sizes());
}

}  // namespace

std::vector<std::int64_t> PackedLayout::element_offsets(std::int64_t width, bool first_token_only) const {
  std::vector<std::int64_t> result(offsets.size());
  for (std::size_t row = 0; row < offsets.size(); ++row) {
    result[row] = (first_token_only ? static_cast<std::int64_t>(row) : offsets[row]) * width;
  }
  return result;
}

std::uint64_t generator_seed(const AttentionDropout& dropout, std::int64_t first_row_id) {
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  const auto high = [](std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); };
  const auto row = static_cast<std::uint64_t>(first_row_id);
  const Dropout& key = dropout.dropout;
  const PhiloxCounter words = philox4x32({low(row), high(row) ^ dropout.site.id, low(key.step), high(key.step)},
                                         {low(key.seed), high(key.seed)});
  return words[0] | static_cast<std::uint64_t>(words[1]) << 32;
}

PackedLayout make_layout(std::span<const std::int32_t> cu_seqlens, std::span<const std::int64_t> row_ids,
                         std::int64_t num_tokens, at::Device device, AttentionKernel kernel) {
  const bool fits =
      cu_seqlens.size() == row_ids.size() + 1 && cu_seqlens.front() == 0 && cu_seqlens.back() == num_tokens &&
      std::adjacent_find(cu_seqlens.begin(), cu_seqlens.end(), std::greater_equal<>()) == cu_seqlens.end();
  if (!fits) throw Error(ExitCode::internal, "cu_seqlens does not fit the batch's tokens and rows");
  const auto length = [&](std::int64_t row) { return cu_seqlens[row + 1] - cu_seqlens[row]; };
  std::vector<std::int64_t> order(row_ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return length(a) < length(b); });

  PackedLayout layout;
  std::vector<std::int64_t> token_order;
  std::vector<std::int64_t> row_restore(row_ids.size());
  token_order.reserve(static_cast<std::size_t>(num_tokens));
  layout.row_ids.reserve(row_ids.size());
  layout.offsets.reserve(row_ids.size() + 1);
  layout.offsets.push_back(0);
  for (const std::int64_t row : order) {
    const std::int64_t first_token = layout.offsets.back();
    const std::int64_t place = layout.batch_size();
    if (layout.groups.empty() || layout.groups.back().length != length(row)) {
      layout.groups.push_back({place, 0, length(row), first_token});
    }
    ++layout.groups.back().num_rows;
    row_restore[row] = place;
    layout.row_ids.push_back(row_ids[row]);
    layout.offsets.push_back(first_token + length(row));
    for (std::int64_t token = cu_seqlens[row]; token < cu_seqlens[row + 1]; ++token) token_order.push_back(token);
  }
  layout.token_order = index_tensor(token_order, device);
  layout.first_tokens = index_tensor({layout.offsets.begin(), layout.offsets.end() - 1}, device);
  layout.row_restore = index_tensor(row_restore, device);
  layout.kernel = kernel;
  if (kernel != AttentionKernel::by_length && !layout.groups.empty()) {
    std::vector<std::int64_t> rows(layout.offsets.size());
    std::iota(rows.begin(), rows.end(), 0);
    layout.all_tokens = make_sequences(layout.offsets, layout.groups.back().length, device);
    layout.single_tokens = make_sequences(rows, 1, device);
  }
  return layout;
}

at::Tensor packed_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            const PackedLayout& layout, std::int64_t num_heads, bool first_token_only,
                            const std::optional<AttentionDropout>& dropout) {
  if (layout.kernel != AttentionKernel::by_length) {
    return attention_by_kernel(query, key, value, layout, num_heads, first_token_only, dropout);
  }
  if (query.is_cpu() && query.scalar_type() == at::kFloat) {
    return trained_attention(query, key, value, layout, num_heads, first_token_only, dropout);
  }
  std::vector<at::Tensor> contexts;
  contexts.reserve(layout.groups.size());
  for (const EqualLengthGroup& group : layout.groups) {
    const std::int64_t num_queries = first_token_only ? 1 : group.length;
    const std::int64_t first_query = first_token_only ? group.first_row : group.first_token;
    const auto tokens_of = [&](const at::Tensor& packed) {
      return split_heads(packed.narrow(0, group.first_token, group.num_rows * group.length), group.num_rows,
                         group.length, num_heads);
    };
    const at::Tensor q =
        split_heads(query.narrow(0, first_query, group.num_rows * num_queries), group.num_rows, num_queries, num_heads);
    const std::span<const std::int64_t> row_ids = std::span(layout.row_ids).subspan(group.first_row, group.num_rows);
    const at::Tensor context = dropout ? attention_with_dropout(q, tokens_of(key), tokens_of(value), *dropout, row_ids)
                                       : at::scaled_dot_product_attention(q, tokens_of(key), tokens_of(value));
    contexts.push_back(context.transpose(1, 2).reshape({group.num_rows * num_queries, query.size(1)}));
  }
  return at::cat(contexts);
}

}  // namespace bertdist
