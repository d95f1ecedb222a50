#include "text/table.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/error.h"
#include "base/nearest_name.h"
#include "text/record.h"

namespace bertdist {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
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

}  // namespace

Table::Table(const std::filesystem::path& path, const TableOptions& options)
    : source_(path), dialect_(resolve_dialect(options, path)) {
  const std::string_view bytes = source_.bytes();
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) {
    throw Error(ExitCode::data, fmt::format("'{}' is UTF-16", source_.name()),
                "convert it, for example: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE");
  }
  if (bytes.starts_with(kByteOrderMark)) data_begin_ = kByteOrderMark.size();
  read_columns();
}

void Table::read_columns() {
  const std::string_view bytes = source_.bytes();
  std::vector<Cell> cells;
  RecordEnd record{};
  std::size_t begin = data_begin_;
  std::int64_t line = first_line_;
  do {
    if (begin == bytes.size()) {
      throw Error(ExitCode::data, fmt::format("'{}' is empty", source_.name()), "it must hold at least one row");
    }
    data_begin_ = begin;
    first_line_ = line;
    record = read_record(bytes, begin, dialect_, &cells);
    begin = record.end;
    line += record.num_lines;
  } while (record.blank);
  if (!record.problem.empty()) {
    throw Error(ExitCode::data, fmt::format("{}:{}: {}", source_.name(), first_line_, record.problem),
                "check format, delimiter and quote; quote = \"\" reads quotes as ordinary characters");
  }
  if (dialect_.format == TableFormat::jsonl) {
    const std::string_view text = bytes.substr(data_begin_, record.end - data_begin_);
    try {
      const Json object =
          dialect_.encoding == TextEncoding::latin1 ? parse_object(latin1_to_utf8(text)) : parse_object(text);
      for (const auto& [key, value] : object.items()) columns_.push_back(key);
    } catch (const std::invalid_argument& error) {
      throw Error(ExitCode::data, fmt::format("{}:{}: {}", source_.name(), first_line_, error.what()),
                  "in JSONL each line is one JSON object; is the format right?");
    }
    return;
  }
  for (std::size_t i = 0; i < cells.size(); ++i)
    columns_.push_back(dialect_.header ? cells[i].text : fmt::to_string(i));
  if (!dialect_.header) return;
  data_begin_ = record.end;
  first_line_ = line;
}

std::size_t Table::column_index(std::string_view name_or_number, std::string_view key) const {
  const auto found = std::find(columns_.begin(), columns_.end(), name_or_number);
  if (found != columns_.end()) {
    if (std::find(found + 1, columns_.end(), name_or_number) != columns_.end()) {
      throw Error(ExitCode::data, fmt::format("'{}' has more than one column '{}'", source_.name(), name_or_number),
                  fmt::format("give {} as the column's number, from 0", key));
    }
    return static_cast<std::size_t>(found - columns_.begin());
  }
  std::size_t index = 0;
  const char* const end = name_or_number.data() + name_or_number.size();
  const auto [rest, error] = std::from_chars(name_or_number.data(), end, index);
  if (error == std::errc() && rest == end && index < columns_.size()) return index;
  const std::string_view nearest =
      nearest_name(name_or_number, std::vector<std::string_view>(columns_.begin(), columns_.end()));
  throw Error(ExitCode::data,
              fmt::format("'{}' has no column '{}'; its columns are {}", source_.name(), name_or_number,
                          list_columns(columns_)),
              nearest.empty() ? fmt::format("set {} to one of them, or to its number from 0", key)
                              : fmt::format("did you mean {} = \"{}\"?", key, nearest));
}

bool RowReader::next(Row& row) {
  const std::string_view bytes = table_->source().bytes().substr(0, end_);
  while (at_ < end_) {
    row.line = line_;
    RecordEnd record = read_record(bytes, at_, table_->dialect(), &row.cells);
    const std::string_view text = bytes.substr(at_, record.end - at_);
    at_ = record.end;
    line_ += record.num_lines;
    if (record.blank) continue;
    row.problem = std::move(record.problem);
    if (table_->dialect().format == TableFormat::jsonl) {
      read_json(text, row);
    } else if (row.problem.empty() && row.cells.size() != table_->columns().size()) {
      row.problem =
          fmt::format("number of fields: {}, but {} in the first record", row.cells.size(), table_->columns().size());
    }
    return true;
  }
  return false;
}

void RowReader::read_json(std::string_view line, Row& row) const {
  row.cells.assign(table_->columns().size(), Cell{});
  try {
    const Json object =
        table_->dialect().encoding == TextEncoding::latin1 ? parse_object(latin1_to_utf8(line)) : parse_object(line);
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      const auto found = object.find(table_->columns()[i]);
      if (found != object.end()) row.cells[i] = to_cell(*found);
    }
  } catch (const std::invalid_argument& error) {
    row.problem = error.what();
  }
}

bool BlockScanner::advance(std::size_t num_bytes, std::vector<TextBlock>& blocks) {
  const std::string_view bytes = table_->source().bytes();
  const std::size_t begin = open_.end;
  while (open_.end < bytes.size() && open_.end - begin < num_bytes) {
    const RecordEnd record = read_record(bytes, open_.end, table_->dialect(), nullptr);
    open_.end = record.end;
    line_ += record.num_lines;
    if (open_.end - open_.begin < block_size_ && open_.end < bytes.size()) continue;
    blocks.push_back(open_);
    open_ = {open_.end, open_.end, line_};
  }
  table_->source().release(begin, open_.end);
  return open_.end < bytes.size();
}

}  // namespace bertdist
