// Prints a table as JSON, row by row, cut into blocks of the given size: what test_csv_reference.py compares with
// Python's readers; with the block size 0 as a stream, where "-" is the standard input.
// Usage: print_table FILE FORMAT DELIMITER QUOTE HEADER ENCODING BLOCK_SIZE [COLUMN]
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/row_stream.h"
#include "text/table.h"

namespace bertdist {
namespace {

nlohmann::json to_json(const Row& row) {
  nlohmann::json cells = nlohmann::json::array();
  for (const Cell& cell : row.cells) cells.push_back(cell.text);
  return {{"line", row.line}, {"cells", cells}, {"problem", row.problem}};
}

nlohmann::json read_blocks(const std::string& path, const TableOptions& options, std::size_t block_size) {
  const Table table(path, options);
  std::vector<TextBlock> blocks;
  BlockScanner scanner(table, block_size);
  while (scanner.advance(1, blocks)) {
  }
  nlohmann::json rows = nlohmann::json::array();
  for (const TextBlock& block : blocks) {
    RowReader reader(table, block);
    for (Row row; reader.next(row);) rows.push_back(to_json(row));
  }
  return {{"columns", table.schema().columns()}, {"rows", rows}, {"blocks", blocks.size()}};
}

// Tells on the standard error of each row that is there before the next one has to be waited for.
nlohmann::json read_stream(const std::string& path, const TableOptions& options) {
  RowStream stream(path, options);
  nlohmann::json rows = nlohmann::json::array();
  for (Row row;;) {
    if (!stream.wait(std::chrono::milliseconds(5))) continue;
    if (!stream.next(row)) return {{"columns", stream.schema().columns()}, {"rows", rows}};
    rows.push_back(to_json(row));
    std::cerr << "row " << rows.size() << std::endl;
  }
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) try {
  using namespace bertdist;
  if (argc != 8 && argc != 9) return 1;
  TableOptions options;
  options.format = argv[2] == std::string("tsv")   ? TableFormat::tsv
                   : argv[2] == std::string("csv") ? TableFormat::csv
                                                   : TableFormat::jsonl;
  options.delimiter = argv[3][0];
  options.quote = argv[4];
  options.header = argv[5] == std::string("true");
  options.encoding = argv[6] == std::string("latin-1") ? TextEncoding::latin1 : TextEncoding::utf8;
  const std::size_t block_size = std::stoull(argv[7]);
  std::cout << (block_size == 0 ? read_stream(argv[1], options) : read_blocks(argv[1], options, block_size)) << '\n';
  if (argc == 9) Table(argv[1], options).schema().column_index(argv[8], "text_column");
} catch (const bertdist::Error& error) {
  std::cerr << error.what() << "\nhint: " << error.hint() << '\n';
  return static_cast<int>(error.code());
}
