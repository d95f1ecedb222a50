#include "text/text_source.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace bertdist {

namespace {

std::int64_t modification_time(const struct stat& status) {
  return status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
}

}  // namespace

TextSource::TextSource(const std::filesystem::path& path) : path_(path) {
  const TextDescriptor file(path);
  if (!file.is_regular_file()) {
    read_all(file);
    return;
  }
  modified_ns_ = modification_time(file.status());
  const auto size = static_cast<std::size_t>(file.status().st_size);
  if (size == 0) return;
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) {  // some file systems cannot map
    read_all(file);
    return;
  }
  mapped_ = mapped;
  bytes_ = {static_cast<const char*>(mapped), size};
}

TextSource::TextSource(TextSource&& other) noexcept
    : path_(std::move(other.path_)),
      bytes_(std::exchange(other.bytes_, {})),
      content_(std::move(other.content_)),
      mapped_(std::exchange(other.mapped_, nullptr)),
      modified_ns_(other.modified_ns_) {
  if (mapped_ == nullptr) bytes_ = content_;
}

TextSource::~TextSource() {
  if (mapped_ != nullptr) ::munmap(mapped_, bytes_.size());
}

void TextSource::read_all(const TextDescriptor& file) {
  std::array<char, 1 << 16> block;
  while (const std::size_t count = file.read(block)) content_.append(block.data(), count);
  bytes_ = content_;
}

void TextSource::release(std::size_t begin, std::size_t end) const {
  if (mapped_ == nullptr) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t first = (begin + page - 1) / page * page;
  const std::size_t last = end / page * page;
  if (first < last) ::madvise(static_cast<char*>(mapped_) + first, last - first, MADV_DONTNEED);
}

void TextSource::require_unchanged() const {
  if (mapped_ == nullptr) return;
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) fail_to_read(path_, errno);
  if (static_cast<std::size_t>(status.st_size) == bytes_.size() && modification_time(status) == modified_ns_) return;
  throw Error(ExitCode::data, fmt::format("'{}' changed while it was read", name()), "run again once it is complete");
}

}  // namespace bertdist
