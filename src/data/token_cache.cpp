#include "data/token_cache.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/token_cache_format.h"

namespace bertdist {

namespace {

std::vector<std::string> read_label_names(const Hdf5Id& file) {
  const std::vector<std::uint8_t> text = read_dataset<std::uint8_t>(file, "label_names");
  const nlohmann::json names = nlohmann::json::parse(text, nullptr, false);
  if (!names.is_array() ||
      !std::all_of(names.begin(), names.end(), [](const auto& name) { return name.is_string(); })) {
    throw Hdf5Failure("its label names are unreadable");
  }
  return names.get<std::vector<std::string>>();
}

// Checksums have already shown that the file is as it was written; this keeps a wrong writer from leading pack()
// astray.
void check_rows(std::span<const std::uint64_t> offsets, std::span<const std::uint32_t> first_segment_lengths,
                std::span<const std::int64_t> labels, std::uint64_t num_tokens, std::size_t num_labels) {
  bool good = offsets.front() == 0 && offsets.back() == num_tokens;
  for (std::size_t row = 0; good && row < labels.size(); ++row) {
    good = offsets[row] < offsets[row + 1] && offsets[row + 1] - offsets[row] <= INT32_MAX &&
           first_segment_lengths[row] <= offsets[row + 1] - offsets[row] && labels[row] >= -1 &&
           labels[row] < static_cast<std::int64_t>(num_labels);
  }
  if (!good) throw Hdf5Failure("its rows do not fit together");
}

}  // namespace

TokenCache TokenCache::open(const std::filesystem::path& path) {
  const Hdf5Id file = open_token_cache(path);
  TokenCache cache;
  try {
    if (dataset_element_size(file, "tokens") == sizeof(std::uint16_t)) {
      cache.tokens_ = read_dataset<std::uint16_t>(file, "tokens");
    } else {
      cache.tokens_ = read_dataset<std::uint32_t>(file, "tokens");
    }
    cache.offsets_ = read_dataset<std::uint64_t>(file, "offsets");
    cache.first_segment_lengths_ = read_dataset<std::uint32_t>(file, "first_segment_lengths");
    cache.labels_ = read_dataset<std::int64_t>(file, "labels");
    cache.lines_ = read_dataset<std::int64_t>(file, "source_lines");
    cache.label_names_ = read_label_names(file);
    cache.content_hash_ = read_string_attribute(file, "content_hash");
    cache.source_ = read_string_attribute(file, "source");
    const std::size_t num_tokens = std::visit([](const auto& tokens) { return tokens.size(); }, cache.tokens_);
    check_rows(cache.offsets_, cache.first_segment_lengths_, cache.labels_, num_tokens, cache.label_names_.size());
  } catch (const Hdf5Failure& failure) {
    throw_damaged_cache(path, failure.what());
  }
  for (std::size_t row = 0; row + 1 < cache.offsets_.size(); ++row) {
    cache.lengths_.push_back(static_cast<std::int32_t>(cache.offsets_[row + 1] - cache.offsets_[row]));
    cache.max_length_ = std::max(cache.max_length_, std::int64_t{cache.lengths_.back()});
  }
  return cache;
}

std::vector<std::string> read_label_names(const std::filesystem::path& path) {
  const Hdf5Id file = open_token_cache(path);
  try {
    return read_label_names(file);
  } catch (const Hdf5Failure& failure) {
    throw_damaged_cache(path, failure.what());
  }
}

PackedBatch TokenCache::pack(std::span<const std::int64_t> rows) const {
  PackedBatch batch;
  std::size_t num_tokens = 0;
  for (const std::int64_t row : rows)
    num_tokens += static_cast<std::size_t>(lengths_.at(static_cast<std::size_t>(row)));
  batch.token_ids.reserve(num_tokens);
  batch.token_type_ids.reserve(num_tokens);
  batch.position_ids.reserve(num_tokens);
  batch.cu_seqlens.reserve(rows.size() + 1);
  batch.row_ids.reserve(rows.size());
  batch.labels.reserve(rows.size());
  batch.cu_seqlens.push_back(0);
  for (const std::int64_t row : rows) {
    const auto index = static_cast<std::size_t>(row);
    const std::int32_t length = lengths_[index];
    std::visit(
        [&](const auto& tokens) {
          const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(offsets_[index]);
          batch.token_ids.insert(batch.token_ids.end(), begin, begin + length);
        },
        tokens_);
    for (std::int32_t position = 0; position < length; ++position) {
      batch.token_type_ids.push_back(static_cast<std::uint32_t>(position) < first_segment_lengths_[index] ? 0 : 1);
      batch.position_ids.push_back(position);
    }
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + length);
    batch.row_ids.push_back(row);
    batch.labels.push_back(labels_[index]);
  }
  return batch;
}

}  // namespace bertdist
