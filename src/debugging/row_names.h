#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "debugging/source_rows.h"

namespace bertdist {

// Names rows of a data set in messages: by file, line and text.
class RowNames {
 public:
  // `source_line` gives the line of a row_id in the source.
  RowNames(std::function<std::int64_t(std::int64_t)> source_line, SourceRows source)
      : source_line_(std::move(source_line)), source_(std::move(source)) {}

  // "train.csv:12: "the text"".
  std::string name(std::int64_t row_id) const { return source_.describe(source_line_(row_id)); }
  // The first few of them, each on a line of its own, and how many more there are. Empty for no rows.
  std::string list(std::span<const std::int64_t> row_ids) const;

 private:
  std::function<std::int64_t(std::int64_t)> source_line_;
  SourceRows source_;
};

}  // namespace bertdist
