#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/hdf5_file.h"
#include "data/token_cache_format.h"

namespace bertdist {

// What frozen layers made of a split's rows, as an HDF5 file in the token cache's folder:
//   features   f32 [vectors * hidden_size], in one piece
//   checksums  u64, XXH3 of each 256 KiB of features
// and attributes: file_type, format_version, hidden_size, one for each field, and `complete`, written last.
constexpr std::string_view kFeatureFileFormat = "bertdist feature cache";
constexpr std::int64_t kFeatureFileVersion = 1;

struct FeatureDescription {
  CacheFields fields;  // all that decides the content: weights, tokens, dtype, layers
  std::int64_t hidden_size;
  std::int64_t num_vectors;

  std::string content_hash() const;
  std::uint64_t num_bytes() const { return static_cast<std::uint64_t>(num_vectors * hidden_size) * sizeof(float); }
};

// Writes to a (temporary) path, with memory that does not grow. Throws Error(output).
class FeatureFileWriter {
 public:
  FeatureFileWriter(std::filesystem::path path, FeatureDescription description);

  void append(std::span<const float> values);
  // Throws Error(internal) unless all vectors were appended.
  void finish();

 private:
  void flush();

  std::filesystem::path path_;
  FeatureDescription description_;
  Hdf5Id file_;
  ContiguousDataset features_;
  GrowingDataset<std::uint64_t> checksums_;
  std::vector<float> block_;
  std::uint64_t num_written_ = 0;  // floats
};

// Read-only; several threads and processes may read at once.
class FeatureFile {
 public:
  // Checks that the file is what `description` says, and the checksums of every `num_shares`-th block from `share` on.
  // Throws Error(data) that names what differs or is damaged.
  FeatureFile(std::filesystem::path path, const FeatureDescription& description, int share, int num_shares);
  ~FeatureFile();
  FeatureFile(FeatureFile&& other) noexcept;
  FeatureFile& operator=(FeatureFile&&) = delete;
  FeatureFile(const FeatureFile&) = delete;

  // Throws Error(data).
  void read(std::int64_t first_vector, std::int64_t num_vectors, float* values) const;

 private:
  void read_bytes(std::uint64_t begin, std::span<std::byte> bytes) const;
  void check_blocks(std::span<const std::uint64_t> checksums, std::uint64_t num_bytes, int share, int num_shares) const;
  [[noreturn]] void fail(const std::string& why) const;

  std::filesystem::path path_;
  std::uint64_t row_bytes_;
  std::uint64_t offset_ = 0;
  int descriptor_ = -1;
};

}  // namespace bertdist
