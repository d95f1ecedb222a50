#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "text/example.h"
#include "text/table.h"

namespace bertdist {

struct SourceRow {
  std::int64_t line = 0;  // from 1
  std::string text;
  std::optional<std::string> text_pair;
  std::string label;  // as it stands in the file; empty without a label column
};

// The rows of a text file by their lines, for messages: the token cache keeps no texts.
class SourceRows {
 public:
  SourceRows(std::filesystem::path file, TableOptions table, ColumnOptions columns);

  const std::filesystem::path& file() const { return file_; }
  // In the order of `lines`; the file is read once from its beginning. Throws Error(data) where it cannot be read, or
  // has no row on such a line.
  std::vector<SourceRow> read(std::span<const std::int64_t> lines) const;
  // "train.csv:12: "the text""; the place alone where the file does not have that row any more.
  std::string describe(std::int64_t line) const;

 private:
  std::filesystem::path file_;
  TableOptions table_;
  ColumnOptions columns_;
};

// The beginning of a text as one line of at most `max_characters`, "…" included where something is left out.
std::string shortened(const std::string& text, std::size_t max_characters);

}  // namespace bertdist
