#pragma once

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"

namespace bertdist {

// How a row's logits travel: row: int64, logits: float32 [num_labels].
inline void append_logit_record(Bytes& records, std::int64_t row, std::span<const float> logits) {
  for (const std::span<const std::byte> part : {std::as_bytes(std::span(&row, 1)), std::as_bytes(logits)}) {
    records.insert(records.end(), part.begin(), part.end());
  }
}

// The logits of rows 0..num_rows-1, which come in any order. Throws Error(internal) unless each comes exactly once.
class LogitTable {
 public:
  LogitTable(std::size_t num_rows, std::size_t num_labels)
      : num_labels_(num_labels), logits_(num_rows * num_labels), seen_(num_rows) {}

  // A sequence of whole records.
  void insert(std::span<const std::byte> records) {
    const std::size_t record = sizeof(std::int64_t) + num_labels_ * sizeof(float);
    for (; !records.empty(); records = records.subspan(record)) {
      std::int64_t row = 0;
      std::memcpy(&row, records.data(), sizeof(row));
      const auto index = static_cast<std::size_t>(row);
      if (index >= seen_.size() || seen_[index]) {
        throw Error(ExitCode::internal, fmt::format("row {} was evaluated twice or does not exist", row));
      }
      seen_[index] = true;
      ++num_seen_;
      std::memcpy(&logits_[index * num_labels_], records.data() + sizeof(row), num_labels_ * sizeof(float));
    }
  }

  // Row-major [num_rows, num_labels].
  std::vector<float> complete() && {
    if (num_seen_ != seen_.size()) {
      throw Error(ExitCode::internal, fmt::format("{} of {} rows were evaluated", num_seen_, seen_.size()));
    }
    return std::move(logits_);
  }

 private:
  std::size_t num_labels_;
  std::vector<float> logits_;
  std::vector<bool> seen_;
  std::size_t num_seen_ = 0;
};

}  // namespace bertdist
