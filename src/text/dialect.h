#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

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

}  // namespace bertdist
