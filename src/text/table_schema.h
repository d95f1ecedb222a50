#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/dialect.h"
#include "text/row.h"

namespace bertdist {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Throws Error(data) where a table begins with the bytes of UTF-16 or of gzip. `name` stands for the table.
void require_plain_text(std::string_view bytes, const std::string& name);

// What a table's beginning says of all its rows: its columns, and where the rows begin.
class TableSchema {
 public:
  // `bytes` start with the table's first record, whole, perhaps behind a byte order mark and empty lines. `name` stands
  // for the table in messages. Throws Error(data) where it is empty, no plain text, or its first record is bad.
  TableSchema(std::string_view bytes, const Dialect& dialect, std::string name);

  const std::string& name() const { return name_; }
  const Dialect& dialect() const { return dialect_; }
  // From the header; without one "0", "1", …; in JSONL the keys of the first record.
  const std::vector<std::string>& columns() const { return columns_; }
  // The column of this name, or at this position from 0. Throws Error(data) that lists the columns there are; `key` is
  // the option that names the column.
  std::size_t column_index(std::string_view name_or_number, std::string_view key) const;

  // Of the first row.
  std::size_t data_begin() const { return data_begin_; }
  std::int64_t first_line() const { return first_line_; }

 private:
  void read_json_columns(std::string_view record);
  std::optional<char> other_delimiter(std::string_view record) const;

  std::string name_;
  Dialect dialect_;
  std::vector<std::string> columns_;
  std::optional<char> likely_delimiter_;  // where the first record seems to have another one
  std::size_t data_begin_ = 0;
  std::int64_t first_line_ = 1;
};

// Reads the record of `bytes` that begins at `at` as a row, moves `at` and `line` behind it, and returns whether it was
// one: an empty line is none.
bool read_row(const TableSchema& schema, std::string_view bytes, std::size_t& at, std::int64_t& line, Row& row);

// What a quote on this line means that is never closed: no rule for bad rows covers it, since it takes in all that
// follows.
Error open_quote_error(const std::string& name, std::int64_t line);

}  // namespace bertdist
