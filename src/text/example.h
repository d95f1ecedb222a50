#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/row.h"
#include "text/table_schema.h"

namespace bertdist {

// Each is a column's name, or its number from 0.
struct ColumnOptions {
  std::string text_column = "text";
  std::optional<std::string> text_pair_column;
  std::optional<std::string> label_column;
};

// Views into a Row, valid until it changes.
struct Example {
  std::string_view text;
  std::optional<std::string_view> text_pair;
  std::optional<std::string_view> label;
};

// Picks an example's columns out of a table's rows.
class ExampleReader {
 public:
  // Throws Error(data) for a column that the table does not have.
  ExampleReader(const TableSchema& schema, const ColumnOptions& options);

  // Nothing for a bad row, whose `problem` then says what is wrong.
  std::optional<Example> read(Row& row) const;

 private:
  struct Column {
    std::size_t index;
    std::string name;
  };
  bool check_text(Row& row, const Column& column) const;
  bool check_label(Row& row) const;

  Column text_;
  std::optional<Column> text_pair_;
  std::optional<Column> label_;
};

}  // namespace bertdist
