#include "debugging/batch_check.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/error.h"

namespace bertdist {

namespace {

class BatchChecker {
 public:
  BatchChecker(std::span<const std::int64_t> row_ids, const RowNames& rows, std::string_view where)
      : row_ids_(row_ids), rows_(rows), where_(where) {}

  void check_sizes(const BertInput& input, const BertConfig& config) const {
    const auto& ends = input.cu_seqlens;
    const std::int64_t num_tokens = input.token_ids.numel();
    if (ends.size() != row_ids_.size() + 1 || ends.front() != 0) {
      fail(0, fmt::format("cu_seqlens has {} entries from {} on for {} rows", ends.size(),
                          ends.empty() ? 0 : ends.front(), row_ids_.size()));
    }
    for (std::size_t row = 0; row + 1 < ends.size(); ++row) {
      const std::int64_t length = std::int64_t{ends[row + 1]} - ends[row];
      if (length < 1 || length > config.max_position_embeddings || ends[row + 1] > num_tokens) {
        fail(row, fmt::format("cu_seqlens goes from {} to {}: {} tokens, where the model has {} positions and the "
                              "batch {} tokens",
                              ends[row], ends[row + 1], length, config.max_position_embeddings, num_tokens));
      }
    }
    if (ends.back() != num_tokens || input.token_type_ids.numel() != num_tokens ||
        input.position_ids.numel() != num_tokens) {
      fail(row_ids_.size() - 1,
           fmt::format("cu_seqlens ends at {}, of {} token_ids, {} token_type_ids and {} "
                       "position_ids",
                       ends.back(), num_tokens, input.token_type_ids.numel(), input.position_ids.numel()));
    }
  }

  // `values` is int64 [tokens].
  void check_tokens(const at::Tensor& values, std::string_view name, std::int64_t limit,
                    std::span<const std::int32_t> ends) const {
    const std::int64_t* const data = values.const_data_ptr<std::int64_t>();
    for (std::size_t row = 0; row + 1 < ends.size(); ++row) {
      for (std::int32_t token = ends[row]; token < ends[row + 1]; ++token) {
        if (data[token] >= 0 && data[token] < limit) continue;
        fail(row, fmt::format("{} has {} at position {}, which is not in [0, {})", name, data[token], token - ends[row],
                              limit));
      }
    }
  }

  void check_labels(const at::Tensor& labels, std::int64_t num_labels) const {
    if (labels.numel() != std::ssize(row_ids_)) {
      fail(0, fmt::format("{} labels for {} rows", labels.numel(), row_ids_.size()));
    }
    const std::int64_t* const data = labels.const_data_ptr<std::int64_t>();
    for (std::size_t row = 0; row < row_ids_.size(); ++row) {
      if (data[row] >= 0 && data[row] < num_labels) continue;
      fail(row, fmt::format("the label is {}, which is not in [0, {})", data[row], num_labels));
    }
  }

 private:
  [[noreturn]] void fail(std::size_t row, const std::string& what) const {
    const std::string name = row < row_ids_.size() ? rows_.name(row_ids_[row]) : "a batch without rows";
    throw Error(ExitCode::data, fmt::format("{}: {}; the row is {}", where_, what, name),
                "the token cache does not fit the model: remove its file from token_cache_dir, and it is made anew");
  }

  std::span<const std::int64_t> row_ids_;
  const RowNames& rows_;
  std::string_view where_;
};

}  // namespace

void check_batch(const BertInput& input, const at::Tensor& labels, const BertConfig& config, const RowNames& rows,
                 std::string_view where) {
  const BatchChecker checker(input.row_ids, rows, where);
  checker.check_sizes(input, config);
  checker.check_tokens(input.token_ids, "token_ids", config.vocab_size, input.cu_seqlens);
  checker.check_tokens(input.token_type_ids, "token_type_ids", config.type_vocab_size, input.cu_seqlens);
  checker.check_tokens(input.position_ids, "position_ids", config.max_position_embeddings, input.cu_seqlens);
  checker.check_labels(labels, config.num_labels());
}

void check_labels(std::span<const std::int64_t> row_ids, const at::Tensor& labels, const BertConfig& config,
                  const RowNames& rows, std::string_view where) {
  BatchChecker(row_ids, rows, where).check_labels(labels, config.num_labels());
}

}  // namespace bertdist
