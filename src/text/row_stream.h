#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "text/table_schema.h"
#include "text/text_descriptor.h"

namespace bertdist {

// A table read once from front to back as it comes in, with memory that does not grow with it: the standard input
// ("-"), a pipe or a file. The rows are those of a Table.
class RowStream {
 public:
  // Opens, but does not read yet. Throws Error(data).
  RowStream(const std::filesystem::path& path, const TableOptions& options);

  // Waits until next() can answer at once, for `patience` at most, and returns whether it can. Throws Error(data) as
  // Table does for the beginning of a table, for a quote that is never closed, and for a record of more than 16 MiB.
  bool wait(std::chrono::milliseconds patience);
  // Known once wait() has returned true.
  const TableSchema& schema() const { return *schema_; }
  // After wait(): false at the end. Reuses the row's memory.
  bool next(Row& row);

 private:
  bool read_schema();
  bool holds_row();
  bool read_more(std::chrono::milliseconds patience);

  TextDescriptor file_;
  std::string name_;
  Dialect dialect_;
  std::optional<TableSchema> schema_;
  std::string buffer_;
  std::size_t at_ = 0;  // of the buffer: where the next record begins
  std::int64_t line_ = 1;
  bool ended_ = false;
};

}  // namespace bertdist
