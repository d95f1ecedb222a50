#include "text/example.h"

#include <fmt/core.h>

namespace bertdist {

namespace {

std::string shortened(const std::string& text) {
  constexpr std::size_t kMaxShown = 40;
  return text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "...";
}

}  // namespace

ExampleReader::ExampleReader(const TableSchema& schema, const ColumnOptions& options) {
  const auto column = [&](const std::string& wanted, std::string_view key) {
    const std::size_t index = schema.column_index(wanted, key);
    return Column{index, schema.columns()[index]};
  };
  text_ = column(options.text_column, "text_column");
  if (options.text_pair_column) text_pair_ = column(*options.text_pair_column, "text_pair_column");
  if (options.label_column) label_ = column(*options.label_column, "label_column");
}

std::optional<Example> ExampleReader::read(Row& row) const {
  if (!row.problem.empty() || !check_text(row, text_)) return std::nullopt;
  if (text_pair_ && !check_text(row, *text_pair_)) return std::nullopt;
  if (label_ && !check_label(row)) return std::nullopt;
  Example example{.text = row.cells[text_.index].text, .text_pair = {}, .label = {}};
  if (text_pair_) example.text_pair = row.cells[text_pair_->index].text;
  if (label_) example.label = row.cells[label_->index].text;
  return example;
}

bool ExampleReader::check_text(Row& row, const Column& column) const {
  const Cell& cell = row.cells[column.index];
  if (cell.kind == Cell::Kind::text) return true;
  row.problem = cell.kind == Cell::Kind::missing
                    ? fmt::format("no text in '{}'", column.name)
                    : fmt::format("'{}' holds {}, not a string", column.name, shortened(cell.text));
  return false;
}

bool ExampleReader::check_label(Row& row) const {
  const Cell& cell = row.cells[label_->index];
  if (cell.kind == Cell::Kind::missing || cell.text.empty()) {
    row.problem = fmt::format("no label in '{}'", label_->name);
  } else if (cell.kind == Cell::Kind::other) {
    row.problem =
        fmt::format("the label in '{}' is {}, neither a string nor an integer", label_->name, shortened(cell.text));
  }
  return row.problem.empty();
}

}  // namespace bertdist
