#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "data/hdf5_file.h"
#include "data/tokenized_block.h"

namespace bertdist {

// A token cache is an HDF5 file, N rows one after the other:
//   tokens                 u16 or u32 [all tokens], special tokens included
//   offsets                u64 [N+1], row i is tokens offsets[i] to offsets[i+1]
//   first_segment_lengths  u32 [N], tokens whose type id is 0
//   labels                 i64 [N], -1 where there is none
//   source_lines           i64 [N], from 1
//   label_names            u8, a JSON list [id]; empty without labels
// and attributes: file_type, format_version, content_hash, source, num_skipped, num_invalid_utf8, one for each field
// below, and `complete`, written last.
constexpr std::string_view kTokenCacheFormat = "bertdist token cache";
constexpr std::int64_t kTokenCacheVersion = 1;

// What decides a cache's content, as (name, value), in a fixed order.
using CacheFields = std::vector<std::pair<std::string, std::string>>;

struct CacheDescription {
  CacheFields fields;
  std::string content_hash;
  std::string source;
  std::vector<std::string> label_names;
  std::int64_t num_skipped = 0;
  std::int64_t num_invalid_utf8 = 0;
};

using TokenDataset = std::variant<GrowingDataset<std::uint16_t>, GrowingDataset<std::uint32_t>>;

// Writes a cache to a (temporary) path, row by row, with memory that does not grow with it. Throws Error(output).
class TokenCacheWriter {
 public:
  TokenCacheWriter(const std::filesystem::path& path, std::size_t vocab_size);

  void append(const TokenizedBlock& block);  // made with a tokenizer of this vocab_size
  std::int64_t num_rows() const { return num_rows_; }
  void finish(const CacheDescription& description);

 private:
  std::filesystem::path path_;
  Hdf5Id file_;
  GrowingDataset<std::uint64_t> offsets_;
  GrowingDataset<std::uint32_t> first_segment_lengths_;
  GrowingDataset<std::int64_t> labels_;
  GrowingDataset<std::int64_t> lines_;
  TokenDataset tokens_;
  std::int64_t num_rows_ = 0;
  std::uint64_t num_tokens_ = 0;
};

// Opens a cache and checks what can be checked without reading its data. Throws Error(data).
Hdf5Id open_token_cache(const std::filesystem::path& path);
// Error(data) that names the damaged file and says what to do.
[[noreturn]] void throw_damaged_cache(const std::filesystem::path& path, const std::string& why);

}  // namespace bertdist
