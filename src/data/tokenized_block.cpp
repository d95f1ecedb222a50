#include "data/tokenized_block.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>

namespace bertdist {

namespace {

template <typename T>
void append_values(const std::vector<T>& values, Bytes& bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  const std::uint64_t size = values.size();
  const auto as_bytes = [&](const void* data, std::size_t count) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), begin, begin + count);
  };
  as_bytes(&size, sizeof(size));
  as_bytes(values.data(), values.size() * sizeof(T));
}

void append_text(const std::string& text, Bytes& bytes) {
  append_values(std::vector<char>(text.begin(), text.end()), bytes);
}

class BytesReader {
 public:
  explicit BytesReader(const Bytes& bytes) : bytes_(bytes) {}

  bool at_end() const { return at_ == bytes_.size(); }

  template <typename T>
  std::vector<T> values() {
    std::uint64_t size = 0;
    copy(&size, sizeof(size));
    std::vector<T> values(size);
    copy(values.data(), size * sizeof(T));
    return values;
  }

  std::string text() {
    const std::vector<char> characters = values<char>();
    return {characters.begin(), characters.end()};
  }

 private:
  void copy(void* to, std::size_t count) {
    if (count > bytes_.size() - at_) throw Error(ExitCode::internal, "a tokenised block arrived incomplete");
    if (count > 0) std::memcpy(to, bytes_.data() + at_, count);
    at_ += count;
  }

  const Bytes& bytes_;
  std::size_t at_ = 0;
};

// The id, or the error that stops the block.
std::int64_t label_id(const BlockTokenizer& job, const Example& example, const Row& row, TokenizedBlock& result) {
  if (!example.label) return -1;
  const std::optional<std::int64_t> id = job.labels.id_of(*example.label);
  if (!id) {
    result.error.emplace(
        ExitCode::data, fmt::format("{}:{}: unknown label '{}'", job.table.source().name(), row.line, *example.label),
        fmt::format("the labels are {}; for training, id2label names all that there are", job.labels.describe()));
  }
  return id.value_or(-1);
}

// Whether to go on with the next row.
bool take_bad_row(const BlockTokenizer& job, std::int64_t line, const std::string& reason, TokenizedBlock& result) {
  result.bad_rows.push_back({line, reason});
  if (job.on_bad_row == BadRowPolicy::skip) return true;
  result.error = bad_row_error(job.table.source().name(), line, reason);
  return false;
}

// Where token type 1 begins, which is all of the types that a cache holds.
std::uint32_t first_segment_length(const std::vector<std::uint8_t>& types) {
  const auto second = std::find_if(types.begin(), types.end(), [](std::uint8_t type) { return type != 0; });
  if (std::any_of(second, types.end(), [](std::uint8_t type) { return type != 1; })) {
    throw Error(ExitCode::model,
                "the tokenizer gives a row's tokens other types than 0 for its first part and 1 for its second",
                "the post_processor of its tokenizer.json must give [CLS], the first text and its [SEP] the type_id 0, "
                "and only what follows the type_id 1");
  }
  return static_cast<std::uint32_t>(second - types.begin());
}

void append_row(const Encoding& encoding, std::int64_t label, std::int64_t line, TokenizedBlock& result) {
  const std::vector<std::int32_t>& ids = encoding.input_ids;
  std::visit([&](auto& tokens) { tokens.insert(tokens.end(), ids.begin(), ids.end()); }, result.tokens);
  result.lengths.push_back(static_cast<std::uint32_t>(ids.size()));
  result.first_segment_lengths.push_back(first_segment_length(encoding.token_type_ids));
  result.labels.push_back(label);
  result.lines.push_back(line);
}

void tokenize_rows(const BlockTokenizer& job, const TextBlock& block, Encoding& encoding, TokenizedBlock& result) {
  RowReader reader(job.table, block);
  Row row;
  while (result.lengths.size() < job.max_rows && reader.next(row)) {
    const std::optional<Example> example = job.examples.read(row);
    if (!example) {
      if (take_bad_row(job, row.line, row.problem, result)) continue;
      return;
    }
    const std::int64_t label = label_id(job, *example, row, result);
    if (result.error) return;
    try {
      result.num_invalid_utf8 += static_cast<std::int64_t>(job.tokenizer.encode(
          example->text, example->text_pair, job.max_seq_length, job.truncation_strategy, encoding));
    } catch (const Error& error) {
      // A text that cannot be truncated is the row's fault; anything else is not.
      if (error.code() != ExitCode::data) throw;
      if (take_bad_row(job, row.line, error.what(), result)) continue;
      return;
    }
    append_row(encoding, label, row.line, result);
  }
}

}  // namespace

void require_same_text(const Table& table, const TextBlock& block) {
  if (table.holds(block)) return;
  table.source().require_unchanged();
  throw Error(
      ExitCode::communication,
      fmt::format("ranks see different content in '{}', at line {} or below", table.source().name(), block.first_line),
      "each rank reads the file itself: it must be the same on all hosts of a job");
}

TokenIds empty_token_ids(std::size_t vocab_size) {
  if (vocab_size <= std::size_t{UINT16_MAX} + 1) return std::vector<std::uint16_t>();
  return std::vector<std::uint32_t>();
}

Error bad_row_error(const std::string& source, std::int64_t line, const std::string& reason) {
  return Error(ExitCode::data, fmt::format("{}:{}: {}", source, line, reason),
               "on_bad_row = \"skip\" leaves such rows out and lists them in a file");
}

void TokenizedBlock::keep_first(std::size_t num_rows) {
  if (num_rows > lengths.size()) return;
  std::erase_if(bad_rows, [&](const BadRow& bad) { return bad.line > lines[num_rows - 1]; });
  error.reset();
  const auto num_tokens =
      std::reduce(lengths.begin(), lengths.begin() + static_cast<std::ptrdiff_t>(num_rows), std::size_t{0});
  std::visit([&](auto& ids) { ids.resize(num_tokens); }, tokens);
  for (auto* column : {&lengths, &first_segment_lengths}) column->resize(num_rows);
  for (auto* column : {&labels, &lines}) column->resize(num_rows);
}

TokenizedBlock BlockTokenizer::operator()(const TextBlock& block, Encoding& encoding) const {
  TokenizedBlock result;
  result.tokens = empty_token_ids(tokenizer.vocab_size());
  try {
    require_same_text(table, block);
    tokenize_rows(*this, block, encoding, result);
  } catch (const Error& error) {
    result.error = error;
  } catch (const std::exception& error) {
    result.error.emplace(ExitCode::internal, fmt::format("tokenising '{}': {}", table.source().name(), error.what()));
  }
  table.source().release(block.begin, block.end);
  return result;
}

void append_bytes(const TokenizedBlock& block, Bytes& bytes) {
  append_values(std::vector<std::uint8_t>{static_cast<std::uint8_t>(block.tokens.index())}, bytes);
  std::visit([&](const auto& tokens) { append_values(tokens, bytes); }, block.tokens);
  append_values(block.lengths, bytes);
  append_values(block.first_segment_lengths, bytes);
  append_values(block.labels, bytes);
  append_values(block.lines, bytes);
  std::vector<std::int64_t> bad_lines;
  for (const TokenizedBlock::BadRow& bad : block.bad_rows) bad_lines.push_back(bad.line);
  append_values(bad_lines, bytes);
  for (const TokenizedBlock::BadRow& bad : block.bad_rows) append_text(bad.reason, bytes);
  const std::int64_t code = block.error ? static_cast<std::int64_t>(block.error->code()) : 0;
  append_values(std::vector<std::int64_t>{block.num_invalid_utf8, code}, bytes);
  append_text(block.error ? block.error->what() : "", bytes);
  append_text(block.error ? block.error->hint() : "", bytes);
}

std::vector<TokenizedBlock> blocks_from_bytes(const Bytes& bytes) {
  std::vector<TokenizedBlock> blocks;
  for (BytesReader reader(bytes); !reader.at_end();) {
    TokenizedBlock& block = blocks.emplace_back();
    if (reader.values<std::uint8_t>().at(0) == 0) {
      block.tokens = reader.values<std::uint16_t>();
    } else {
      block.tokens = reader.values<std::uint32_t>();
    }
    block.lengths = reader.values<std::uint32_t>();
    block.first_segment_lengths = reader.values<std::uint32_t>();
    block.labels = reader.values<std::int64_t>();
    block.lines = reader.values<std::int64_t>();
    for (const std::int64_t line : reader.values<std::int64_t>()) block.bad_rows.push_back({line, ""});
    for (TokenizedBlock::BadRow& bad : block.bad_rows) bad.reason = reader.text();
    const std::vector<std::int64_t> numbers = reader.values<std::int64_t>();
    block.num_invalid_utf8 = numbers.at(0);
    const std::string message = reader.text();
    const std::string hint = reader.text();
    if (numbers.at(1) != 0) block.error.emplace(static_cast<ExitCode>(numbers[1]), message, hint);
  }
  return blocks;
}

}  // namespace bertdist
