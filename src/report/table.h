#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bertdist {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
  std::size_t min_width = 0;  // characters; what a table printed row by row reserves for rows to come
};

// A table of plain text for the terminal: titles, a rule, rows, columns two blanks apart. Print it whole, or header()
// first and row_line() as the rows come.
class TablePrinter {
 public:
  explicit TablePrinter(std::vector<Column> columns);

  // One cell a column. Cells are UTF-8; each code point counts as one character.
  void add_row(std::vector<std::string> cells);

  std::string to_string() const;  // every line ends in \n
  std::string header() const;     // titles and rule, no \n at the end; as wide as the rows added so far need
  // One row without \n, not kept.
  std::string row_line(const std::vector<std::string>& cells) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

// 1234567 -> "1,234,567"
std::string with_thousands_separators(long long value);
// "1 step", "1,234 steps"
std::string counted(long long number, std::string_view noun);

}  // namespace bertdist
