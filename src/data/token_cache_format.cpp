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

TokenCacheWriter::TokenCacheWriter(const std::filesystem::path& path, bool wide_tokens)
    : path_(path),
      file_(writing(path, [&] { return create_hdf5_file(path); })),
      offsets_(file_, "offsets"),
      first_segment_lengths_(file_, "first_segment_lengths"),
      labels_(file_, "labels"),
      lines_(file_, "source_lines") {
  writing(path_, [&] {
    if (wide_tokens) {
      wide_tokens_.emplace(file_, "tokens");
    } else {
      narrow_tokens_.emplace(file_, "tokens");
    }
    offsets_.append(0);
  });
}

void TokenCacheWriter::append(const TokenizedBlock& block) {
  writing(path_, [&] {
    std::size_t token = 0;
    for (std::size_t row = 0; row < block.lengths.size(); ++row) {
      for (const std::size_t end = token + block.lengths[row]; token < end; ++token) {
        if (wide_tokens_) {
          wide_tokens_->append(block.tokens[token]);
        } else {
          narrow_tokens_->append(static_cast<std::uint16_t>(block.tokens[token]));
        }
      }
      num_tokens_ += block.lengths[row];
      ++num_rows_;
      offsets_.append(num_tokens_);
      first_segment_lengths_.append(block.first_segment_lengths[row]);
      labels_.append(block.labels[row]);
      lines_.append(block.lines[row]);
    }
  });
}

void TokenCacheWriter::finish(const CacheDescription& description) {
  writing(path_, [&] {
    if (wide_tokens_) wide_tokens_->finish();
    if (narrow_tokens_) narrow_tokens_->finish();
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
