#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/text_source.h"

namespace bertdist {

enum class TableFormat { automatic, csv, tsv, jsonl };  // automatic goes by the file's extension
enum class TextEncoding { utf8, latin1 };

struct TableOptions {
  TableFormat format = TableFormat::automatic;
  std::optional<char> delimiter;     // unset: "," in CSV, a tab in TSV
  std::optional<std::string> quote;  // one byte, or empty where nothing is quoted; unset: '"' in CSV, nothing in TSV
  bool header = true;                // whether the first record of a CSV or TSV holds the columns' names
  TextEncoding encoding = TextEncoding::utf8;
};

// TableOptions with nothing left open.
struct Dialect {
  TableFormat format = TableFormat::csv;
  char delimiter = ',';
  std::optional<char> quote;
  bool header = true;
  TextEncoding encoding = TextEncoding::utf8;
};

// Throws Error(configuration) for what cannot be: a delimiter that is the quote, an extension that says nothing.
Dialect resolve_dialect(const TableOptions& options, const std::filesystem::path& path);
std::string_view format_name(TableFormat format);

// One value of a row. CSV and TSV know only text; in JSONL a value has a type, and a key may be missing (or null).
struct Cell {
  enum class Kind { text, integer, other, missing };
  Kind kind = Kind::missing;
  std::string text;  // UTF-8 as it stands in the file: bytes that are not UTF-8 pass through
};

struct Row {
  std::int64_t line = 0;    // from 1, where the record starts
  std::vector<Cell> cells;  // [columns], unless there is a problem
  std::string problem;      // what is wrong with the record; empty for a good one
};

// A part of a table's bytes that starts and ends between records.
struct TextBlock {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::int64_t first_line = 1;
};

// A CSV (RFC 4180: quotes, doubled quotes, newlines in quoted fields), TSV or JSONL file. CR, LF and CR LF all end a
// record of CSV and TSV, LF one of JSONL. A byte order mark is skipped, empty lines too. Quotes inside an unquoted
// field are ordinary characters. Safe to read from several threads.
class Table {
 public:
  // Throws Error(data) where the file is missing, empty, UTF-16, or its first record is bad.
  Table(const std::filesystem::path& path, const TableOptions& options);

  // From the header; without one "0", "1", …; in JSONL the keys of the first record.
  const std::vector<std::string>& columns() const { return columns_; }
  // The column of this name, or at this position from 0. Throws Error(data) that lists the columns there are; `key` is
  // the option that names the column.
  std::size_t column_index(std::string_view name_or_number, std::string_view key) const;

  const Dialect& dialect() const { return dialect_; }
  const TextSource& source() const { return source_; }
  // All records after the header.
  TextBlock whole() const { return {data_begin_, source_.bytes().size(), first_line_}; }

 private:
  void read_columns();

  TextSource source_;
  Dialect dialect_;
  std::vector<std::string> columns_;
  std::size_t data_begin_ = 0;
  std::int64_t first_line_ = 1;
};

// The rows of one block in order, bad ones too. The table must outlive the reader.
class RowReader {
 public:
  RowReader(const Table& table, const TextBlock& block)
      : table_(&table), at_(block.begin), end_(block.end), line_(block.first_line) {}

  // False at the end. Reuses the row's memory.
  bool next(Row& row);

 private:
  void read_json(std::string_view line, Row& row) const;

  const Table* table_;
  std::size_t at_;
  std::size_t end_;
  std::int64_t line_;
};

// Cuts a table into blocks of about `block_size` bytes by a scan that knows the quotes: a cut at any newline would fall
// into quoted fields.
class BlockScanner {
 public:
  BlockScanner(const Table& table, std::size_t block_size)
      : table_(&table),
        block_size_(block_size),
        open_{table.whole().begin, table.whole().begin, table.whole().first_line},
        line_(open_.first_line) {}

  // Scans on for about `num_bytes`, appends the blocks that end there and returns whether there is more.
  bool advance(std::size_t num_bytes, std::vector<TextBlock>& blocks);

 private:
  const Table* table_;
  std::size_t block_size_;
  TextBlock open_;
  std::int64_t line_;
};

}  // namespace bertdist
