#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "data/label_map.h"
#include "text/example.h"
#include "text/table.h"
#include "tokenizer/bert_tokenizer.h"

namespace bertdist {

// As narrow as the vocabulary allows: most tokens travel and are stored in 2 bytes.
using TokenIds = std::variant<std::vector<std::uint16_t>, std::vector<std::uint32_t>>;
TokenIds empty_token_ids(std::size_t vocab_size);

enum class BadRowPolicy { fail, skip };

// The rows of one TextBlock as token ids.
struct TokenizedBlock {
  struct BadRow {
    std::int64_t line;
    std::string reason;
  };
  TokenIds tokens;                                   // of all rows
  std::vector<std::uint32_t> lengths;                // [rows]
  std::vector<std::uint32_t> first_segment_lengths;  // [rows]
  std::vector<std::int64_t> labels;                  // [rows], -1 where there is none
  std::vector<std::int64_t> lines;                   // [rows]
  std::vector<BadRow> bad_rows;                      // in order, left out of the rows
  std::int64_t num_invalid_utf8 = 0;
  std::optional<Error> error;  // stopped here: a bad row under BadRowPolicy::fail, or an unknown label

  // Drops what comes behind the first so many rows (one at least), errors and bad rows too.
  void keep_first(std::size_t num_rows);
};

struct BlockTokenizer {
  const Table& table;
  const ExampleReader& examples;
  const BertTokenizer& tokenizer;
  std::size_t max_seq_length;
  TruncationStrategy truncation_strategy;
  const LabelMap& labels;
  BadRowPolicy on_bad_row;
  std::size_t max_rows;  // of a block; the others are not read

  // Thread-safe, given an Encoding for each thread, which knows the words of earlier blocks. An Error comes back in the
  // block, so that the first one in the order of the file can be thrown.
  TokenizedBlock operator()(const TextBlock& block, Encoding& encoding) const;
};

// Throws Error(communication) where the table, on this rank, holds other bytes there than the rank that scanned it saw.
void require_same_text(const Table& table, const TextBlock& block);

// What a bad row means under BadRowPolicy::fail.
Error bad_row_error(const std::string& source, std::int64_t line, const std::string& reason);

// To travel between ranks of the same program.
void append_bytes(const TokenizedBlock& block, Bytes& bytes);
std::vector<TokenizedBlock> blocks_from_bytes(const Bytes& bytes);

}  // namespace bertdist
