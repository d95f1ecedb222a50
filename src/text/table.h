#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "text/dialect.h"
#include "text/row.h"
#include "text/table_schema.h"
#include "text/text_source.h"

namespace bertdist {

// A part of a table's bytes that starts and ends between records.
struct TextBlock {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::int64_t first_line = 1;
  std::uint64_t checksum = 0;  // of its bytes as BlockScanner saw them
};

// A CSV (RFC 4180: quotes, doubled quotes, newlines in quoted fields), TSV or JSONL file. CR, LF and CR LF all end a
// record of CSV and TSV, LF one of JSONL. A byte order mark is skipped, empty lines too. Quotes inside an unquoted
// field are ordinary characters. Safe to read from several threads.
class Table {
 public:
  // Throws Error(data) where the file is missing, empty, no plain text, or its first record is bad.
  Table(const std::filesystem::path& path, const TableOptions& options);

  const TableSchema& schema() const { return schema_; }
  const TextSource& source() const { return source_; }
  // All records after the header.
  TextBlock whole() const {
    return {.begin = schema_.data_begin(), .end = source_.bytes().size(), .first_line = schema_.first_line()};
  }
  // Whether the bytes there are those that a BlockScanner, perhaps on another host, saw.
  bool holds(const TextBlock& block) const;

 private:
  TextSource source_;
  TableSchema schema_;
};

// The rows of one block in order, bad ones too, as far as the table reaches. The table must outlive the reader.
class RowReader {
 public:
  RowReader(const Table& table, const TextBlock& block)
      : table_(&table),
        at_(block.begin),
        end_(std::min<std::size_t>(block.end, table.source().bytes().size())),
        line_(block.first_line) {}

  // False at the end. Reuses the row's memory.
  bool next(Row& row);

 private:
  const Table* table_;
  std::size_t at_;
  std::size_t end_;
  std::int64_t line_;
};

// Cuts a table into blocks of about `block_size` bytes by a scan that knows the quotes: a cut at any newline would fall
// into quoted fields. Throws Error(data) for a quote that is never closed: it would take the rest of the file into one
// record, and no rule for bad rows can mean that.
class BlockScanner {
 public:
  BlockScanner(const Table& table, std::size_t block_size)
      : table_(&table),
        block_size_(block_size),
        open_{.begin = table.whole().begin, .end = table.whole().begin, .first_line = table.whole().first_line},
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
