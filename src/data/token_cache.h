#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace bertdist {

// Rows of a batch one after the other, without padding. T: tokens of the batch, B: rows.
struct PackedBatch {
  std::vector<std::int64_t> token_ids;       // [T]
  std::vector<std::int64_t> token_type_ids;  // [T]
  std::vector<std::int64_t> position_ids;    // [T]
  std::vector<std::int32_t> cu_seqlens;      // [B+1]: row i is tokens cu_seqlens[i] to cu_seqlens[i+1]
  std::vector<std::int64_t> row_ids;         // [B]
  std::vector<std::int64_t> labels;          // [B], -1 where there is none
};

// A tokenised file as prepare_token_cache leaves it; docs in token_cache_format.h. Read-only, safe to use from several
// threads and to open from several processes.
class TokenCache {
 public:
  // Throws Error(data) where the file is missing, incomplete or damaged: all its data is read and its checksums
  // checked.
  static TokenCache open(const std::filesystem::path& path);

  std::int64_t num_rows() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::span<const std::int32_t> lengths() const { return lengths_; }  // [num_rows], tokens with the special ones
  std::span<const std::int64_t> labels() const { return labels_; }    // [num_rows], -1 where there is none
  bool has_labels() const { return !label_names_.empty(); }
  const std::vector<std::string>& label_names() const { return label_names_; }  // [id]
  // Equal for equal contents: source text, tokenizer and options.
  const std::string& content_hash() const { return content_hash_; }
  std::int64_t source_line(std::int64_t row) const { return lines_.at(static_cast<std::size_t>(row)); }  // from 1
  const std::string& source() const { return source_; }
  std::int64_t max_length() const { return max_length_; }  // of the rows; at most max_seq_length

  PackedBatch pack(std::span<const std::int64_t> rows) const;

 private:
  TokenCache() = default;

  std::variant<std::vector<std::uint16_t>, std::vector<std::uint32_t>> tokens_;
  std::vector<std::uint64_t> offsets_;  // [num_rows + 1]
  std::vector<std::int32_t> lengths_;
  std::vector<std::uint32_t> first_segment_lengths_;
  std::vector<std::int64_t> labels_;
  std::vector<std::int64_t> lines_;
  std::vector<std::string> label_names_;
  std::string content_hash_;
  std::string source_;
  std::int64_t max_length_ = 0;
};

// A cache's label names [id], without reading the rest of it. Throws Error(data).
std::vector<std::string> read_label_names(const std::filesystem::path& path);

}  // namespace bertdist
