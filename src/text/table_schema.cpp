#include "text/table_schema.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "base/nearest_name.h"
#include "text/record.h"

namespace bertdist {

namespace {

// Writing a value back to text recurses once a level.
constexpr int kMaxJsonDepth = 100;

using Json = nlohmann::ordered_json;

// Throws std::exception with a text for the user.
Json parse_object(std::string_view line) {
  const auto limit_depth = [](int depth, Json::parse_event_t, const Json&) {
    if (depth > kMaxJsonDepth) throw std::invalid_argument("the JSON value is nested too deeply");
    return true;
  };
  Json object;
  try {
    object = Json::parse(line, limit_depth);
  } catch (const Json::parse_error& error) {
    throw std::invalid_argument(fmt::format("invalid JSON at byte {} of the record", error.byte));
  } catch (const Json::exception&) {
    throw std::invalid_argument("the JSON object holds a number that is too large");
  }
  if (!object.is_object())
    throw std::invalid_argument(fmt::format("a JSON object is expected, not a JSON {}", object.type_name()));
  return object;
}

Cell to_cell(const Json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return {Cell::Kind::text, value.get<std::string>()};
  return {value.is_number_integer() ? Cell::Kind::integer : Cell::Kind::other, value.dump()};
}

std::string list_columns(const std::vector<std::string>& columns) {
  constexpr std::size_t kMaxListed = 30;
  const std::size_t listed = std::min(columns.size(), kMaxListed);
  std::string list;
  for (std::size_t i = 0; i < listed; ++i) list += fmt::format("{}'{}'", i == 0 ? "" : ", ", columns[i]);
  return listed == columns.size() ? list : fmt::format("{} and {} more", list, columns.size() - listed);
}

std::string delimiter_hint(char delimiter) {
  return fmt::format("the first line looks like it is separated by {}: set delimiter = \"{}\"",
                     delimiter == '\t' ? "tabs" : fmt::format("'{}'", delimiter),
                     delimiter == '\t' ? std::string("\\t") : std::string(1, delimiter));
}

Json parse_record(std::string_view record, TextEncoding encoding) {
  return encoding == TextEncoding::latin1 ? parse_object(latin1_to_utf8(record)) : parse_object(record);
}

void read_json_cells(const TableSchema& schema, std::string_view record, Row& row) {
  row.cells.assign(schema.columns().size(), Cell{});
  try {
    const Json object = parse_record(record, schema.dialect().encoding);
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      const auto found = object.find(schema.columns()[i]);
      if (found != object.end()) row.cells[i] = to_cell(*found);
    }
  } catch (const std::invalid_argument& error) {
    row.problem = error.what();
  }
}

}  // namespace

void require_plain_text(std::string_view bytes, const std::string& name) {
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) {
    throw Error(ExitCode::data, fmt::format("'{}' is UTF-16", name),
                "convert it, for example: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE");
  }
  if (bytes.starts_with("\x1F\x8B")) {
    throw Error(ExitCode::data, fmt::format("'{}' is compressed with gzip", name),
                "unpack it: gzip -dc FILE > NEW_FILE; predict also reads from a pipe: gzip -dc FILE | bertdist predict "
                "--test_file - --format csv ...");
  }
}

TableSchema::TableSchema(std::string_view bytes, const Dialect& dialect, std::string name)
    : name_(std::move(name)), dialect_(dialect) {
  require_plain_text(bytes, name_);
  if (bytes.starts_with(kByteOrderMark)) data_begin_ = kByteOrderMark.size();
  std::vector<Cell> cells;
  RecordEnd record{};
  std::size_t begin = data_begin_;
  std::int64_t line = first_line_;
  do {
    if (begin == bytes.size()) {
      throw Error(ExitCode::data, fmt::format("'{}' is empty", name_), "it must hold at least one row");
    }
    data_begin_ = begin;
    first_line_ = line;
    record = read_record(bytes, begin, dialect_, &cells);
    begin = record.end;
    line += record.num_lines;
  } while (record.blank);
  const std::string_view text = bytes.substr(data_begin_, record.end - data_begin_);
  if (dialect_.format == TableFormat::jsonl) {
    read_json_columns(text);
    return;
  }
  likely_delimiter_ = other_delimiter(text);
  if (!record.problem.empty()) {
    throw Error(ExitCode::data, fmt::format("{}:{}: {}", name_, first_line_, record.problem),
                likely_delimiter_
                    ? delimiter_hint(*likely_delimiter_)
                    : "check format, delimiter and quote; quote = \"\" reads quotes as ordinary characters");
  }
  for (std::size_t i = 0; i < cells.size(); ++i)
    columns_.push_back(dialect_.header ? cells[i].text : fmt::to_string(i));
  if (!dialect_.header) return;
  data_begin_ = record.end;
  first_line_ = line;
}

void TableSchema::read_json_columns(std::string_view record) {
  try {
    const Json object = parse_record(record, dialect_.encoding);
    for (const auto& [key, value] : object.items()) columns_.push_back(key);
  } catch (const std::invalid_argument& error) {
    throw Error(ExitCode::data, fmt::format("{}:{}: {}", name_, first_line_, error.what()),
                "in JSONL each line is one JSON object; is the format right?");
  }
}

std::optional<char> TableSchema::other_delimiter(std::string_view record) const {
  if (record.find(dialect_.delimiter) != std::string_view::npos) return std::nullopt;
  const std::size_t found = record.find_first_of(";\t|,");
  return found == std::string_view::npos ? std::nullopt : std::optional(record[found]);
}

std::size_t TableSchema::column_index(std::string_view name_or_number, std::string_view key) const {
  const auto found = std::find(columns_.begin(), columns_.end(), name_or_number);
  if (found != columns_.end()) {
    if (std::find(found + 1, columns_.end(), name_or_number) != columns_.end()) {
      throw Error(ExitCode::data, fmt::format("'{}' has more than one column '{}'", name_, name_or_number),
                  fmt::format("give {} as the column's number, from 0", key));
    }
    return static_cast<std::size_t>(found - columns_.begin());
  }
  std::size_t index = 0;
  const char* const end = name_or_number.data() + name_or_number.size();
  const auto [rest, error] = std::from_chars(name_or_number.data(), end, index);
  if (error == std::errc() && rest == end && index < columns_.size()) return index;
  const std::string message =
      fmt::format("'{}' has no column '{}'; its columns are {}", name_, name_or_number, list_columns(columns_));
  if (likely_delimiter_) throw Error(ExitCode::data, message, delimiter_hint(*likely_delimiter_));
  const std::string_view nearest =
      nearest_name(name_or_number, std::vector<std::string_view>(columns_.begin(), columns_.end()));
  throw Error(ExitCode::data, message,
              nearest.empty()
                  ? fmt::format("set {} to one of them, or to its number from 0; if the first line is a row "
                                "and not the columns' names, set header = false",
                                key)
                  : fmt::format("did you mean {} = \"{}\"?", key, nearest));
}

bool read_row(const TableSchema& schema, std::string_view bytes, std::size_t& at, std::int64_t& line, Row& row) {
  RecordEnd record = read_record(bytes, at, schema.dialect(), &row.cells);
  const std::string_view text = bytes.substr(at, record.end - at);
  at = record.end;
  row.line = std::exchange(line, line + record.num_lines);
  if (record.blank) return false;
  row.problem = std::move(record.problem);
  if (schema.dialect().format == TableFormat::jsonl) {
    read_json_cells(schema, text, row);
  } else if (row.problem.empty() && row.cells.size() != schema.columns().size()) {
    row.problem =
        fmt::format("number of fields: {}, but {} in the first record", row.cells.size(), schema.columns().size());
  }
  return true;
}

Error open_quote_error(const std::string& name, std::int64_t line) {
  return Error(ExitCode::data, fmt::format("{}:{}: a quote opens here that is never closed", name, line),
               "close it, or double it where it is text; quote = \"\" reads quotes as ordinary characters. "
               "on_bad_row = \"skip\" does not help: all rows that follow would be left out");
}

}  // namespace bertdist
