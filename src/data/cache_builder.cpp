#include "data/cache_builder.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "data/cooperation.h"

namespace bertdist {

namespace {

constexpr std::size_t kMaxLabels = 10'000;

// Depends on the text alone: with it every rank and thread gets a share of a small file, and the list of blocks of a
// large one stays short.
std::size_t block_size_for(std::size_t num_bytes) {
  return std::clamp<std::size_t>(num_bytes / 1024, std::size_t{16} << 10, std::size_t{1} << 20);
}

Error no_rows_error(const Table& table) {
  return Error(ExitCode::data,
               fmt::format("'{}' has no rows{}", table.source().name(),
                           table.schema().dialect().header && table.schema().dialect().format != TableFormat::jsonl
                               ? ", only a header"
                               : ""),
               "it must hold at least one row");
}

std::vector<TextBlock> scan_blocks(const Table& table, Communicator& communicator) {
  constexpr std::size_t kStep = std::size_t{8} << 20;
  std::vector<TextBlock> blocks;
  BlockScanner scanner(table, block_size_for(table.source().bytes().size()));
  root_in_steps(communicator, "scan of the source text", [&] { return !scanner.advance(kStep, blocks); });
  auto count = static_cast<std::int64_t>(blocks.size());
  communicator.broadcast(std::as_writable_bytes(std::span(&count, 1)), 0, "number of blocks");
  blocks.resize(static_cast<std::size_t>(count));
  communicator.broadcast(std::as_writable_bytes(std::span(blocks)), 0, "blocks of the source text");
  return blocks;
}

// The distinct labels of a block. Bad rows are left to the tokenisation, which reports or skips them; the first one is
// kept in case that there is nothing else to report.
void collect_labels(const CacheJob& job, const TextBlock& block, std::set<std::string>& labels,
                    std::optional<TokenizedBlock::BadRow>& first_bad_row) {
  require_same_text(job.table, block);
  RowReader reader(job.table, block);
  Row row;
  while (reader.next(row)) {
    const std::optional<Example> example = job.examples.read(row);
    if (!example) {
      if (!first_bad_row) first_bad_row = {row.line, row.problem};
      continue;
    }
    labels.emplace(*example->label);
    if (labels.size() <= kMaxLabels) continue;
    throw Error(ExitCode::data,
                fmt::format("'{}' has more than {} different labels in column '{}'", job.table.source().name(),
                            kMaxLabels, *job.options.columns.label_column),
                "is label_column the column of the labels?");
  }
  job.table.source().release(block.begin, block.end);
}

std::string join(const std::set<std::string>& labels) {
  std::string joined;
  for (const std::string& label : labels) joined += fmt::format("{}:{}", label.size(), label);
  return joined;
}

void add_joined(std::string_view joined, std::set<std::string>& labels) {
  while (!joined.empty()) {
    const std::size_t colon = joined.find(':');
    const std::size_t size = std::stoull(std::string(joined.substr(0, colon)));
    labels.emplace(joined.substr(colon + 1, size));
    joined.remove_prefix(colon + 1 + size);
  }
}

// Throws, on every rank, an Error that names the text's first bad row, if there is one.
void fail_on_bad_row(const CacheJob& job, const std::optional<TokenizedBlock::BadRow>& mine,
                     Communicator& communicator) {
  const std::string text = mine ? fmt::format("{}:{}", mine->line, mine->reason) : "";
  std::map<std::int64_t, std::string> reasons;
  for (const Bytes& bytes : communicator.all_gather(std::as_bytes(std::span(text)), "bad rows of the source text")) {
    const std::string part(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!part.empty()) reasons.emplace(std::stoll(part), part.substr(part.find(':') + 1));
  }
  if (reasons.empty()) return;
  const auto& [line, reason] = *reasons.begin();
  if (job.options.on_bad_row == BadRowPolicy::fail) throw bad_row_error(job.table.source().name(), line, reason);
  throw Error(
      ExitCode::data,
      fmt::format("'{0}' has no good row; the first bad one is {0}:{1}: {2}", job.table.source().name(), line, reason),
      "check the columns, format, delimiter and quote");
}

LabelMap discover_labels(const CacheJob& job, const std::vector<TextBlock>& blocks, Communicator& communicator) {
  // Parsing runs at well over 50 MB a second: a step of 64 blocks of 1 MiB is far from any timeout.
  constexpr std::size_t kBlocksAStep = 64;
  const auto rank = static_cast<std::size_t>(communicator.rank());
  const auto ranks = static_cast<std::size_t>(communicator.world_size());
  std::set<std::string> labels;
  std::optional<TokenizedBlock::BadRow> first_bad_row;
  for (std::size_t first = 0; first < blocks.size(); first += ranks * kBlocksAStep) {
    on_all_ranks(communicator, "labels of the source text", [&] {
      const std::size_t end = std::min(blocks.size(), first + ranks * kBlocksAStep);
      for (std::size_t index = first + rank; index < end; index += ranks) {
        collect_labels(job, blocks[index], labels, first_bad_row);
      }
    });
  }
  const std::string mine = join(labels);
  for (const Bytes& bytes : communicator.all_gather(std::as_bytes(std::span(mine)), "labels of the source text")) {
    add_joined({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, labels);
  }
  if (labels.empty() && blocks.empty()) throw no_rows_error(job.table);
  // Too few labels to go on, perhaps because the rows that have them cannot be read.
  if (labels.empty() || (labels.size() < 2 && job.options.on_bad_row == BadRowPolicy::fail)) {
    fail_on_bad_row(job, first_bad_row, communicator);
  }
  return LabelMap::from_values(
      {labels.begin(), labels.end()},
      fmt::format("column '{}' of '{}'", *job.options.columns.label_column, job.table.source().name()));
}

// This rank's blocks of one round, one a thread, each with an Encoding of its own.
Bytes tokenize_round(const BlockTokenizer& tokenize, std::span<const TextBlock> blocks, std::span<Encoding> encodings) {
  std::vector<TokenizedBlock> results(blocks.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < blocks.size(); ++i) {
      threads.emplace_back([&, i] { results[i] = tokenize(blocks[i], encodings[i]); });
    }
    if (!blocks.empty()) results[0] = tokenize(blocks[0], encodings[0]);
  }
  Bytes bytes;
  for (const TokenizedBlock& result : results) append_bytes(result, bytes);
  return bytes;
}

// Rank 0's side: the cache under its temporary name, and the list of skipped rows.
class CacheOutput {
 public:
  explicit CacheOutput(const CacheJob& job)
      : job_(job),
        file_(job.folder.cache()),
        writer_(file_.temporary_path(), job.tokenizer.vocab_size()),
        skipped_file_(job.folder.skipped_rows()) {}

  // In the order of the blocks, as far as rows are wanted. Throws the Error of the first that has one.
  void append(TokenizedBlock& block) {
    if (is_full()) return;
    if (job_.options.max_rows) block.keep_first(static_cast<std::size_t>(*job_.options.max_rows - num_rows()));
    if (block.error) throw *block.error;
    writer_.append(block);
    for (const TokenizedBlock::BadRow& bad : block.bad_rows) list_skipped(bad);
    description_.num_invalid_utf8 += block.num_invalid_utf8;
  }

  void commit(const LabelMap& labels) {
    const std::string name = job_.table.source().name();
    job_.table.source().require_unchanged();
    if (writer_.num_rows() == 0) {
      if (description_.num_skipped == 0) throw no_rows_error(job_.table);
      throw Error(ExitCode::data, fmt::format("'{}' has no good row, {} bad ones", name, description_.num_skipped),
                  "it must hold at least one row");
    }
    description_.fields = job_.fields;
    description_.content_hash = job_.content_hash;
    description_.source = std::filesystem::absolute(job_.table.source().path()).lexically_normal().string();
    description_.label_names = labels.names();
    writer_.finish(description_);
    if (skipped_.is_open()) {
      skipped_.close();
      if (!skipped_) fail_skipped();
      skipped_file_.commit();
    }
    file_.commit();
  }

  std::int64_t num_rows() const { return writer_.num_rows(); }
  bool is_full() const { return job_.options.max_rows && num_rows() == *job_.options.max_rows; }

 private:
  void list_skipped(const TokenizedBlock::BadRow& bad) {
    if (!skipped_.is_open()) skipped_.open(skipped_file_.temporary_path());
    skipped_ << job_.table.source().name() << ':' << bad.line << ": " << bad.reason << '\n';
    if (!skipped_) fail_skipped();
    ++description_.num_skipped;
  }

  [[noreturn]] void fail_skipped() const {
    throw Error(ExitCode::output, fmt::format("cannot write '{}'", job_.folder.skipped_rows().string()),
                "is the disk full, or the folder not writable? token_cache_dir chooses another one");
  }

  const CacheJob& job_;
  AtomicFile file_;
  TokenCacheWriter writer_;
  AtomicFile skipped_file_;
  std::ofstream skipped_;
  CacheDescription description_;
};

// Which blocks of each round this rank tokenises: one a thread.
struct RoundShare {
  std::size_t round_size;  // blocks of all ranks
  std::size_t offset;      // of this rank's
  std::size_t count;
};

RoundShare share_of_round(int num_threads, Communicator& communicator) {
  const auto rank = static_cast<std::size_t>(communicator.rank());
  std::vector<std::int64_t> threads(static_cast<std::size_t>(communicator.world_size()));
  threads[rank] = std::max(num_threads, 1);
  communicator.all_reduce(buffer_of(std::span(threads)), ReduceOp::sum, "threads");
  const auto before = threads.begin() + communicator.rank();
  return {static_cast<std::size_t>(std::reduce(threads.begin(), threads.end())),
          static_cast<std::size_t>(std::reduce(threads.begin(), before)), static_cast<std::size_t>(threads[rank])};
}

// In rounds: each rank tokenises the next few blocks, rank 0 appends them in the order of the text. Memory is that of
// one round, and no rank waits for the others for longer than a round.
void tokenize_blocks(const BlockTokenizer& tokenize, int num_threads, const std::vector<TextBlock>& blocks,
                     CacheOutput* output, Communicator& communicator) {
  const RoundShare share = share_of_round(num_threads, communicator);
  std::vector<Encoding> encodings(share.count);
  for (std::size_t first = 0; first < blocks.size(); first += share.round_size) {
    const std::size_t begin = std::min(blocks.size(), first + share.offset);
    const std::size_t end = std::min(blocks.size(), begin + share.count);
    const Bytes mine = tokenize_round(tokenize, std::span(blocks).subspan(begin, end - begin), encodings);
    const std::vector<Bytes> gathered = communicator.gather_to_root(mine, 0, "tokenised rows");
    root_in_steps(communicator, "rows of the token cache", [&] {
      for (const Bytes& bytes : gathered) {
        for (TokenizedBlock& block : blocks_from_bytes(bytes)) output->append(block);
      }
      return true;
    });
    std::int64_t full = output != nullptr && output->is_full() ? 1 : 0;
    communicator.broadcast(std::as_writable_bytes(std::span(&full, 1)), 0, "whether the token cache has all its rows");
    if (full != 0) return;
  }
}

}  // namespace

void build_token_cache(const CacheJob& job, Communicator& communicator, const Log& log) {
  const std::vector<TextBlock> blocks = scan_blocks(job.table, communicator);
  LabelMap labels;
  if (job.options.columns.label_column) {
    labels = job.options.labels ? *job.options.labels : discover_labels(job, blocks, communicator);
  }
  std::optional<CacheOutput> output;  // rank 0 only
  root_in_steps(communicator, "new token cache", [&] {
    output.emplace(job);
    return true;
  });
  const BlockTokenizer tokenize{
      .table = job.table,
      .examples = job.examples,
      .tokenizer = job.tokenizer,
      .max_seq_length = job.options.max_seq_length,
      .truncation_strategy = job.options.truncation_strategy,
      .labels = labels,
      .on_bad_row = job.options.on_bad_row,
      .max_rows = job.options.max_rows ? static_cast<std::size_t>(*job.options.max_rows) : SIZE_MAX};
  tokenize_blocks(tokenize, job.options.num_threads, blocks, output ? &*output : nullptr, communicator);
  root_in_steps(communicator, "token cache", [&] {
    output->commit(labels);
    log.info("tokenised {} into {}: {} rows", job.table.source().name(), job.folder.cache().string(),
             output->num_rows());
    return true;
  });
}

}  // namespace bertdist
