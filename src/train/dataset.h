#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/token_cache.h"
#include "model/bert.h"

namespace bertdist {

// A split: some rows of a token cache, in an order of its own. An index is a position in the split; a row is a position
// in the cache.
class Dataset {
 public:
  // Throws Error(data) where a row has no label.
  Dataset(std::shared_ptr<const TokenCache> cache, std::vector<std::int64_t> rows);

  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  const TokenCache& cache() const { return *cache_; }
  std::span<const std::int32_t> lengths() const { return lengths_; }  // tokens, by index
  std::int64_t label(std::int64_t index) const { return cache_->labels()[static_cast<std::size_t>(row(index))]; }
  std::int64_t row(std::int64_t index) const { return rows_[static_cast<std::size_t>(index)]; }

  // Names the rows and their order: equal for equal content, whatever the files are called.
  std::string fingerprint() const;

  BertInput input(std::span<const std::int64_t> indices) const;
  at::Tensor labels(std::span<const std::int64_t> indices) const;  // int64 [batch]
  std::vector<std::int64_t> rows(std::span<const std::int64_t> indices) const;

 private:
  std::shared_ptr<const TokenCache> cache_;
  std::vector<std::int64_t> rows_;
  std::vector<std::int32_t> lengths_;
};

BertInput to_bert_input(const PackedBatch& batch);

}  // namespace bertdist
