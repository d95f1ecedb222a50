#include "report/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace bertdist {
namespace {

constexpr std::size_t kGap = 2;

std::size_t num_characters(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, Align align) {
  const std::size_t length = num_characters(text);
  const std::string blanks(width > length ? width - length : 0, ' ');
  return align == Align::right ? blanks + text : text + blanks;
}

}  // namespace

TablePrinter::TablePrinter(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) widths_.push_back(std::max(column.min_width, num_characters(column.title)));
}

void TablePrinter::add_row(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) {
    throw Error(ExitCode::internal,
                fmt::format("a row of {} cells in a table of {} columns", cells.size(), columns_.size()));
  }
  for (std::size_t i = 0; i < cells.size(); ++i) widths_[i] = std::max(widths_[i], num_characters(cells[i]));
  rows_.push_back(std::move(cells));
}

std::string TablePrinter::to_string() const {
  std::string text = header() + "\n";
  for (const auto& row : rows_) text += row_line(row) + "\n";
  return text;
}

std::string TablePrinter::header() const {
  std::vector<std::string> titles;
  std::size_t width = columns_.empty() ? 0 : (columns_.size() - 1) * kGap;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    titles.push_back(columns_[i].title);
    width += widths_[i];
  }
  return row_line(titles) + "\n" + std::string(width, '-');
}

std::string TablePrinter::row_line(const std::vector<std::string>& cells) const {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) line.append(kGap, ' ');
    line += padded(cells[i], widths_.at(i), columns_.at(i).align);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string with_thousands_separators(long long value) {
  std::string digits = fmt::format("{}", value);
  const std::ptrdiff_t first_digit = value < 0 ? 1 : 0;
  for (std::ptrdiff_t i = std::ssize(digits) - 3; i > first_digit; i -= 3) {
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return digits;
}

std::string counted(long long number, std::string_view noun) {
  return fmt::format("{} {}{}", with_thousands_separators(number), noun, number == 1 ? "" : "s");
}

}  // namespace bertdist
