#include "data/prepare.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/checksum.h"
#include "base/content_hash.h"
#include "base/error.h"
#include "data/cache_builder.h"
#include "data/cache_folder.h"
#include "data/cooperation.h"
#include "data/token_cache_format.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

std::string hash_source(const Table& table, Communicator& communicator) {
  constexpr std::size_t kStep = std::size_t{8} << 20;  // mapped pages count as this rank's memory until released
  ContentHash hash;
  std::size_t at = 0;
  root_in_steps(communicator, "hash of the source text", [&] {
    const std::string_view part = table.source().bytes().substr(at, kStep);
    hash.update(std::as_bytes(std::span(part)));
    table.source().release(at, at + part.size());
    at += part.size();
    return at == table.source().bytes().size();
  });
  return broadcast_text(communicator, hash.hex(), 0, "hash of the source text");
}

// What decides the columns and the blocks. The text itself each rank checks block by block, as it tokenises it.
void require_same_beginning(const Table& table, Communicator& communicator) {
  constexpr std::size_t kHead = std::size_t{1} << 20;
  const std::string_view bytes = table.source().bytes();
  const std::string_view head = bytes.substr(0, std::max(kHead, table.schema().data_begin()));
  require_same_on_all_ranks(communicator, fmt::format("{} {:x}", bytes.size(), checksum(head)),
                            fmt::format("the content of '{}'", table.source().name()));
}

std::string describe_labels(const PrepareOptions& options) {
  if (!options.columns.label_column) return "none";
  if (!options.labels) return "from the file";
  constexpr std::size_t kMaxShown = 500;
  const std::string json =
      nlohmann::json(options.labels->names()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (json.size() <= kMaxShown) return json;
  return fmt::format("{} labels {}", options.labels->num_labels(), ContentHash().field(json).hex());
}

CacheFields describe(const Table& table, const std::string& source_hash, const PrepareOptions& options,
                     const BertTokenizer& tokenizer) {
  const Dialect& dialect = table.schema().dialect();
  return {{"source_hash", source_hash},
          {"tokenizer", tokenizer.fingerprint()},
          {"max_seq_length", fmt::format("{}", options.max_seq_length)},
          {"truncation_strategy",
           options.truncation_strategy == TruncationStrategy::only_first ? "only_first" : "longest_first"},
          {"text_column", options.columns.text_column},
          {"text_pair_column", options.columns.text_pair_column.value_or("")},
          {"label_column", options.columns.label_column.value_or("")},
          {"labels", describe_labels(options)},
          {"format", std::string(format_name(dialect.format))},
          {"delimiter", std::string(1, dialect.delimiter)},
          {"quote", dialect.quote ? std::string(1, *dialect.quote) : ""},
          {"header", dialect.header ? "true" : "false"},
          {"encoding", dialect.encoding == TextEncoding::latin1 ? "latin-1" : "utf-8"},
          {"on_bad_row", options.on_bad_row == BadRowPolicy::skip ? "skip" : "fail"},
          {"rows", options.max_rows ? fmt::format("the first {}", *options.max_rows) : "all"}};
}

std::string hash_fields(const CacheFields& fields) {
  ContentHash hash;
  hash.field(kTokenCacheFormat).field(fmt::format("{}", kTokenCacheVersion));
  for (const auto& [name, value] : fields) hash.field(name).field(value);
  return hash.hex();
}

// What the user should know of a cache each time that it is used, not only when it was made.
void report(const Hdf5Id& cache, bool found, const CacheFolder& folder, const fs::path& source, const Log& log) {
  if (found) {
    log.info("token cache of {} found: {}, {} rows", source.string(), folder.cache().string(),
             dataset_size(cache, "labels"));
  }
  if (const std::int64_t skipped = read_integer_attribute(cache, "num_skipped"); skipped > 0) {
    log.info("{}: bad rows left out: {}; listed in {}", source.string(), skipped, folder.skipped_rows().string());
  }
  if (const std::int64_t invalid = read_integer_attribute(cache, "num_invalid_utf8"); invalid > 0) {
    log.info("{}: invalid UTF-8 sequences read as U+FFFD: {}; is the encoding right?", source.string(), invalid);
  }
}

}  // namespace

fs::path prepare_token_cache(const fs::path& source, const PrepareOptions& options, const BertTokenizer& tokenizer,
                             Communicator& communicator, const Log& log) {
  std::optional<Table> table;
  std::optional<ExampleReader> examples;
  on_all_ranks(communicator, "opening the source text", [&] { table.emplace(source, options.table); });
  require_same_beginning(*table, communicator);
  on_all_ranks(communicator, "columns of the source text", [&] { examples.emplace(table->schema(), options.columns); });
  const CacheFields fields = describe(*table, hash_source(*table, communicator), options, tokenizer);
  const std::string content_hash = hash_fields(fields);
  require_same_on_all_ranks(communicator, content_hash, "the tokenizer or the options of the token cache");
  const CacheFolder folder(options.token_cache_dir, content_hash);

  const std::optional<FileLock> lock = lock_unless_found(folder, "token cache", communicator, log);
  const bool build = broadcast_text(communicator, lock ? "build" : "found", 0, "token cache found") == "build";
  if (build) {
    root_in_steps(communicator, "token cache folder", [&] {
      const std::string changes = folder.changes_since_last(source, fields);
      if (!changes.empty()) log.info("token cache of {} is made anew: {}", source.string(), changes);
      if (lock->locked()) folder.remove_stale_files();
      return true;
    });
    build_token_cache({*table, *examples, options, tokenizer, folder, fields, content_hash}, communicator, log);
  }
  root_in_steps(communicator, "token cache", [&] {
    const Hdf5Id cache = open_token_cache(folder.cache());
    try {
      report(cache, !build, folder, source, log);
    } catch (const Hdf5Failure& failure) {
      throw_damaged_cache(folder.cache(), failure.what());
    }
    // A cache that is shared read-only can be used all the same.
    try {
      if (build || !folder.changes_since_last(source, fields).empty()) folder.remember(source, fields);
    } catch (const Error& error) {
      log.warn("{}", error.what());
    }
    return true;
  });
  return folder.cache();
}

}  // namespace bertdist
