#include "train/dataset.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/content_hash.h"
#include "base/error.h"

namespace bertdist {

namespace {

at::Tensor to_tensor(std::span<const std::int64_t> values) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<std::int64_t>());
  return tensor;
}

}  // namespace

Dataset::Dataset(std::shared_ptr<const TokenCache> cache, std::vector<std::int64_t> rows)
    : cache_(std::move(cache)), rows_(std::move(rows)) {
  lengths_.reserve(rows_.size());
  for (const std::int64_t row : rows_) {
    lengths_.push_back(cache_->lengths()[static_cast<std::size_t>(row)]);
    if (cache_->labels()[static_cast<std::size_t>(row)] >= 0) continue;
    throw Error(
        ExitCode::data,
        fmt::format("the row at {}:{} has no label in its token cache", cache_->source(), cache_->source_line(row)),
        "delete the token cache and run again: it is then made anew from the text");
  }
}

std::vector<std::int64_t> Dataset::rows(std::span<const std::int64_t> indices) const {
  std::vector<std::int64_t> rows;
  rows.reserve(indices.size());
  for (const std::int64_t index : indices) rows.push_back(row(index));
  return rows;
}

std::string Dataset::fingerprint() const {
  return ContentHash().field(cache_->content_hash()).update(std::as_bytes(std::span(rows_))).hex();
}

BertInput Dataset::input(std::span<const std::int64_t> indices) const {
  return to_bert_input(cache_->pack(rows(indices)));
}

at::Tensor Dataset::labels(std::span<const std::int64_t> indices) const {
  std::vector<std::int64_t> labels;
  labels.reserve(indices.size());
  for (const std::int64_t index : indices) labels.push_back(label(index));
  return to_tensor(labels);
}

BertInput to_bert_input(const PackedBatch& batch) {
  return {.token_ids = to_tensor(batch.token_ids),
          .token_type_ids = to_tensor(batch.token_type_ids),
          .position_ids = to_tensor(batch.position_ids),
          .cu_seqlens = batch.cu_seqlens,
          .row_ids = batch.row_ids};
}

}  // namespace bertdist
