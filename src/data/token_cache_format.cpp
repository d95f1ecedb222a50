#include "data/token_cache_format.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace bertdist {

namespace {

// Every failure of the HDF5 library while writing has one meaning for the user.
template <typename Write>
decltype(auto) writing(const std::filesystem::path& path, const Write& write) {
  try {
    return write();
  } catch (const Hdf5Failure& failure) {
    throw Error(ExitCode::output, fmt::format("token cache '{}': {}", path.string(), failure.what()),
                "is the disk full, or the folder not writable? token_cache_dir chooses another one");
  }
}

void write_label_names(const Hdf5Id& file, const std::vector<std::string>& names) {
  GrowingDataset<std::uint8_t> dataset(file, "label_names");
  const std::string json = nlohmann::json(names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (const char c : json) dataset.append(static_cast<std::uint8_t>(c));
  dataset.finish();
}

TokenDataset tokens_dataset(const Hdf5Id& file, std::size_t vocab_size) {
  if (empty_token_ids(vocab_size).index() == 0) return GrowingDataset<std::uint16_t>(file, "tokens");
  return GrowingDataset<std::uint32_t>(file, "tokens");
}

void check_token_cache(const Hdf5Id& file) {
  if (read_string_attribute(file, "file_type") != kTokenCacheFormat) throw Hdf5Failure("it is not a token cache");
  if (read_integer_attribute(file, "format_version") != kTokenCacheVersion) {
    throw Hdf5Failure("it was written by another version of bertdist");
  }
  if (!has_attribute(file, "complete")) throw Hdf5Failure("its writer did not finish");
  const std::uint64_t num_rows = dataset_size(file, "labels");
  if (dataset_size(file, "offsets") != num_rows + 1 || dataset_size(file, "first_segment_lengths") != num_rows ||
      dataset_size(file, "source_lines") != num_rows) {
    throw Hdf5Failure("its parts differ in their number of rows");
  }
}

}  // namespace

TokenCacheWriter::TokenCacheWriter(const std::filesystem::path& path, std::size_t vocab_size)
    : path_(path),
      file_(writing(path, [&] { return create_hdf5_file(path); })),
      offsets_(file_, "offsets"),
      first_segment_lengths_(file_, "first_segment_lengths"),
      labels_(file_, "labels"),
      lines_(file_, "source_lines"),
      tokens_(writing(path, [&] { return tokens_dataset(file_, vocab_size); })) {
  writing(path_, [&] { offsets_.append(0); });
}

void TokenCacheWriter::append(const TokenizedBlock& block) {
  writing(path_, [&] {
    std::visit(
        [&](auto& dataset) {
          using Token = typename std::remove_reference_t<decltype(dataset)>::value_type;
          dataset.append(std::span<const Token>(std::get<std::vector<Token>>(block.tokens)));
        },
        tokens_);
    for (const std::uint32_t length : block.lengths) offsets_.append(num_tokens_ += length);
    first_segment_lengths_.append(std::span<const std::uint32_t>(block.first_segment_lengths));
    labels_.append(std::span<const std::int64_t>(block.labels));
    lines_.append(std::span<const std::int64_t>(block.lines));
    num_rows_ += static_cast<std::int64_t>(block.lengths.size());
  });
}

void TokenCacheWriter::finish(const CacheDescription& description) {
  writing(path_, [&] {
    std::visit([](auto& dataset) { dataset.finish(); }, tokens_);
    offsets_.finish();
    first_segment_lengths_.finish();
    labels_.finish();
    lines_.finish();
    write_label_names(file_, description.label_names);
    write_attribute(file_, "file_type", std::string(kTokenCacheFormat));
    write_attribute(file_, "format_version", kTokenCacheVersion);
    write_attribute(file_, "content_hash", description.content_hash);
    write_attribute(file_, "source", description.source);
    write_attribute(file_, "num_skipped", description.num_skipped);
    write_attribute(file_, "num_invalid_utf8", description.num_invalid_utf8);
    for (const auto& [name, value] : description.fields) write_attribute(file_, name, value);
    if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0) throw Hdf5Failure("cannot write its data");
    write_attribute(file_, "complete", std::int64_t{1});
    file_.close("write its data");
  });
}

void throw_damaged_cache(const std::filesystem::path& path, const std::string& why) {
  throw Error(ExitCode::data, fmt::format("token cache '{}' is damaged: {}", path.string(), why),
              "delete it and run again: it is then made anew from the text");
}

Hdf5Id open_token_cache(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw Error(ExitCode::data, fmt::format("there is no token cache '{}'", path.string()),
                "all hosts of a job must see the same token_cache_dir");
  }
  try {
    Hdf5Id file = open_hdf5_file(path);
    check_token_cache(file);
    return file;
  } catch (const Hdf5Failure& failure) {
    throw_damaged_cache(path, failure.what());
  }
}

}  // namespace bertdist
