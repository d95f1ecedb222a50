#include "text/dialect.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace bertdist {

namespace {

TableFormat format_from_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (extension == ".csv") return TableFormat::csv;
  if (extension == ".tsv" || extension == ".tab") return TableFormat::tsv;
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") return TableFormat::jsonl;
  if (extension == ".gz") return format_from_extension(path.stem());  // what the name says; the bytes will be refused
  throw Error(ExitCode::configuration,
              path == "-" ? std::string("the standard input does not say what format it has")
                          : fmt::format("the name of '{}' does not say what format it has", path.string()),
              "set format to csv, tsv or jsonl");
}

std::optional<char> resolve_quote(const TableOptions& options, TableFormat format) {
  if (!options.quote) return format == TableFormat::csv ? std::optional<char>('"') : std::nullopt;
  if (options.quote->size() > 1) {
    throw Error(ExitCode::configuration, fmt::format("quote '{}' is longer than one byte", *options.quote),
                "give one ASCII character, or nothing where fields are not quoted");
  }
  return options.quote->empty() ? std::nullopt : std::optional<char>(options.quote->front());
}

}  // namespace

std::string_view format_name(TableFormat format) {
  switch (format) {
    case TableFormat::automatic:
      return "auto";
    case TableFormat::csv:
      return "csv";
    case TableFormat::tsv:
      return "tsv";
    case TableFormat::jsonl:
      return "jsonl";
  }
  throw Error(ExitCode::internal, "unknown TableFormat");
}

Dialect resolve_dialect(const TableOptions& options, const std::filesystem::path& path) {
  Dialect dialect;
  dialect.format = options.format == TableFormat::automatic ? format_from_extension(path) : options.format;
  dialect.encoding = options.encoding;
  if (dialect.format == TableFormat::jsonl) return dialect;
  dialect.header = options.header;
  dialect.delimiter = options.delimiter.value_or(dialect.format == TableFormat::tsv ? '\t' : ',');
  dialect.quote = resolve_quote(options, dialect.format);
  const auto ends_a_line = [](char c) { return c == '\n' || c == '\r'; };
  if (ends_a_line(dialect.delimiter) || (dialect.quote && ends_a_line(*dialect.quote)) ||
      dialect.quote == dialect.delimiter) {
    throw Error(ExitCode::configuration, "delimiter and quote must differ from each other and from a line end");
  }
  return dialect;
}

}  // namespace bertdist
