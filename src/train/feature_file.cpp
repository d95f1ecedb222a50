#include "train/feature_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/content_hash.h"
#include "base/error.h"

namespace bertdist {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{256} << 10;
constexpr std::size_t kBlockFloats = kBlockBytes / sizeof(float);

// Every failure of the HDF5 library while writing has one meaning for the user.
template <typename Write>
decltype(auto) writing(const std::filesystem::path& path, const Write& write) {
  try {
    return write();
  } catch (const Hdf5Failure& failure) {
    throw Error(ExitCode::output, fmt::format("feature cache '{}': {}", path.string(), failure.what()),
                "is the disk full, or the folder not writable? token_cache_dir chooses another one, "
                "feature_cache_max_gb = 0 does without it");
  }
}

}  // namespace

std::string FeatureDescription::content_hash() const {
  ContentHash hash;
  hash.field(kFeatureFileFormat).field(fmt::format("{}", kFeatureFileVersion));
  for (const auto& [name, value] : fields) hash.field(name).field(value);
  return hash.hex();
}

FeatureFileWriter::FeatureFileWriter(std::filesystem::path path, FeatureDescription description)
    : path_(std::move(path)),
      description_(std::move(description)),
      file_(writing(path_, [&] { return create_hdf5_file(path_); })),
      features_(writing(
          path_, [&] { return ContiguousDataset(file_, "features", description_.num_bytes() / sizeof(float)); })),
      checksums_(file_, "checksums") {
  block_.reserve(kBlockFloats);
}

void FeatureFileWriter::append(std::span<const float> values) {
  while (!values.empty()) {
    const std::size_t count = std::min(values.size(), kBlockFloats - block_.size());
    block_.insert(block_.end(), values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count));
    values = values.subspan(count);
    if (block_.size() == kBlockFloats) flush();
  }
}

void FeatureFileWriter::flush() {
  if (block_.empty()) return;
  writing(path_, [&] {
    features_.write(num_written_, block_);
    checksums_.append(XXH3_64bits(block_.data(), block_.size() * sizeof(float)));
  });
  num_written_ += block_.size();
  block_.clear();
}

void FeatureFileWriter::finish() {
  flush();
  if (num_written_ * sizeof(float) != description_.num_bytes()) {
    throw Error(ExitCode::internal, fmt::format("{} numbers were written into a feature cache of {}", num_written_,
                                                description_.num_bytes() / sizeof(float)));
  }
  writing(path_, [&] {
    features_.finish();
    checksums_.finish();
    write_attribute(file_, "file_type", std::string(kFeatureFileFormat));
    write_attribute(file_, "format_version", kFeatureFileVersion);
    write_attribute(file_, "hidden_size", description_.hidden_size);
    for (const auto& [name, value] : description_.fields) write_attribute(file_, name, value);
    if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0) throw Hdf5Failure("cannot write its data");
    write_attribute(file_, "complete", std::int64_t{1});
    file_.close("write its data");
  });
}

FeatureFile::FeatureFile(std::filesystem::path path, const FeatureDescription& description, int share, int num_shares)
    : path_(std::move(path)), row_bytes_(static_cast<std::uint64_t>(description.hidden_size) * sizeof(float)) {
  if (!std::filesystem::exists(path_)) {
    throw Error(ExitCode::data, fmt::format("there is no feature cache '{}'", path_.string()),
                "all hosts of a job must see the same token_cache_dir");
  }
  std::vector<std::uint64_t> checksums;
  try {
    const Hdf5Id file = open_hdf5_file(path_);
    if (read_string_attribute(file, "file_type") != kFeatureFileFormat) throw Hdf5Failure("it is no feature cache");
    if (read_integer_attribute(file, "format_version") != kFeatureFileVersion) {
      throw Hdf5Failure("it was written by another version of bertdist");
    }
    if (!has_attribute(file, "complete")) throw Hdf5Failure("its writer did not finish");
    for (const auto& [name, value] : description.fields) {
      if (const std::string found = read_string_attribute(file, name); found != value) {
        throw Hdf5Failure(fmt::format("its {} is {}, not {}", name, found, value));
      }
    }
    if (read_integer_attribute(file, "hidden_size") != description.hidden_size ||
        dataset_size(file, "features") * sizeof(float) != description.num_bytes()) {
      throw Hdf5Failure("its features have another shape");
    }
    checksums = read_dataset<std::uint64_t>(file, "checksums");
    if (description.num_bytes() > 0) offset_ = ContiguousDataset::offset(file, "features");
  } catch (const Hdf5Failure& failure) {
    fail(failure.what());
  }
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail(std::strerror(errno));
  try {
    check_blocks(checksums, description.num_bytes(), share, num_shares);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

FeatureFile::~FeatureFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FeatureFile::FeatureFile(FeatureFile&& other) noexcept
    : path_(std::move(other.path_)),
      row_bytes_(other.row_bytes_),
      offset_(other.offset_),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

void FeatureFile::check_blocks(std::span<const std::uint64_t> checksums, std::uint64_t num_bytes, int share,
                               int num_shares) const {
  const std::uint64_t num_blocks = (num_bytes + kBlockBytes - 1) / kBlockBytes;
  if (checksums.size() != num_blocks) fail("its number of checksums does not fit");
  std::vector<std::byte> block(kBlockBytes);
  for (auto index = static_cast<std::uint64_t>(share); index < num_blocks;
       index += static_cast<std::uint64_t>(num_shares)) {
    const std::uint64_t begin = index * kBlockBytes;
    const auto bytes = std::span(block).first(std::min<std::uint64_t>(kBlockBytes, num_bytes - begin));
    read_bytes(begin, bytes);
    if (XXH3_64bits(bytes.data(), bytes.size()) != checksums[index]) {
      fail(fmt::format("the checksum of block {} of {} of its features is wrong", index, num_blocks));
    }
  }
}

void FeatureFile::read(std::int64_t first_vector, std::int64_t num_vectors, float* values) const {
  read_bytes(static_cast<std::uint64_t>(first_vector) * row_bytes_,
             {reinterpret_cast<std::byte*>(values), static_cast<std::uint64_t>(num_vectors) * row_bytes_});
}

void FeatureFile::read_bytes(std::uint64_t begin, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset_ + begin));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(count == 0 ? "it ends too early" : std::strerror(errno));
    begin += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void FeatureFile::fail(const std::string& why) const {
  throw Error(ExitCode::data, fmt::format("feature cache '{}' cannot be used: {}", path_.string(), why),
              "delete it and run again: it is then computed anew");
}

}  // namespace bertdist
