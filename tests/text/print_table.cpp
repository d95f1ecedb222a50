// Prints a table as JSON, row by row, cut into blocks of the given size: what test_csv_reference.py compares with
// Python's readers. Usage: print_table FILE FORMAT DELIMITER QUOTE HEADER ENCODING BLOCK_SIZE
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/table.h"

int main(int argc, char** argv) try {
  using namespace bertdist;
  if (argc != 8) return 1;
  TableOptions options;
  options.format = argv[2] == std::string("tsv")   ? TableFormat::tsv
                   : argv[2] == std::string("csv") ? TableFormat::csv
                                                   : TableFormat::jsonl;
  options.delimiter = argv[3][0];
  options.quote = argv[4];
  options.header = argv[5] == std::string("true");
  options.encoding = argv[6] == std::string("latin-1") ? TextEncoding::latin1 : TextEncoding::utf8;
  const Table table(argv[1], options);
  std::vector<TextBlock> blocks;
  BlockScanner scanner(table, std::stoull(argv[7]));
  while (scanner.advance(1, blocks)) {
  }
  nlohmann::json rows = nlohmann::json::array();
  for (const TextBlock& block : blocks) {
    RowReader reader(table, block);
    for (Row row; reader.next(row);) {
      nlohmann::json cells = nlohmann::json::array();
      for (const Cell& cell : row.cells) cells.push_back(cell.text);
      rows.push_back({{"line", row.line}, {"cells", cells}, {"problem", row.problem}});
    }
  }
  std::cout << nlohmann::json{{"columns", table.columns()}, {"rows", rows}, {"blocks", blocks.size()}} << '\n';
} catch (const bertdist::Error& error) {
  std::cerr << error.what() << '\n';
  return static_cast<int>(error.code());
}
