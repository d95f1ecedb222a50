#include "debugging/source_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"

namespace bertdist {

namespace {

bool begins_code_point(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

}  // namespace

SourceRows::SourceRows(std::filesystem::path file, TableOptions table, ColumnOptions columns)
    : file_(std::move(file)), table_(std::move(table)), columns_(std::move(columns)) {}

std::vector<SourceRow> SourceRows::read(std::span<const std::int64_t> lines) const {
  std::map<std::int64_t, SourceRow> wanted;
  for (const std::int64_t line : lines) wanted[line] = {};
  const Table table(file_, table_);
  const ExampleReader examples(table.schema(), columns_);
  RowReader reader(table, table.whole());
  std::size_t num_missing = wanted.size();
  for (Row row; num_missing > 0 && reader.next(row);) {
    const auto found = wanted.find(row.line);
    if (found == wanted.end()) continue;
    const std::optional<Example> example = examples.read(row);
    if (!example) continue;
    found->second = {.line = row.line,
                     .text = std::string(example->text),
                     .text_pair = example->text_pair ? std::optional<std::string>(*example->text_pair) : std::nullopt,
                     .label = std::string(example->label.value_or(""))};
    --num_missing;
  }
  std::vector<SourceRow> rows;
  for (const std::int64_t line : lines) {
    rows.push_back(wanted.at(line));
    if (rows.back().line == line) continue;
    throw Error(ExitCode::data, fmt::format("'{}' has no row on line {} any more", file_.string(), line),
                "the file was changed since it was tokenised");
  }
  return rows;
}

std::string SourceRows::describe(std::int64_t line) const {
  constexpr std::size_t kMaxCharacters = 200;
  const std::string place = fmt::format("{}:{}", file_.string(), line);
  try {
    const SourceRow row = read(std::span(&line, 1)).front();
    const std::string pair = row.text_pair ? fmt::format(" and \"{}\"", shortened(*row.text_pair, kMaxCharacters)) : "";
    return fmt::format("{}: \"{}\"{}", place, shortened(row.text, kMaxCharacters), pair);
  } catch (const Error&) {
    return place;  // what is to be told matters more than that the text is gone
  }
}

std::string shortened(const std::string& text, std::size_t max_characters) {
  std::string line;
  std::size_t count = 0;
  for (const char byte : text) {
    if (begins_code_point(byte) && ++count > max_characters) {
      std::size_t last = line.size() - 1;
      while (last > 0 && !begins_code_point(line[last])) --last;
      return line.erase(last) + "…";
    }
    line += static_cast<unsigned char>(byte) < ' ' ? ' ' : byte;
  }
  return line;
}

}  // namespace bertdist
