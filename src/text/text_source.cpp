#include "text/text_source.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace bertdist {

namespace {

struct Descriptor {
  int fd;
  bool owned;
  ~Descriptor() {
    if (owned && fd >= 0) ::close(fd);
  }
};

[[noreturn]] void fail(const std::string& name, int error) {
  const char* hint = error == ENOENT   ? "check the path; a relative one starts at the folder that bertdist runs in"
                     : error == EACCES ? "the user that runs bertdist may not read it"
                                       : "";
  throw Error(ExitCode::data, fmt::format("cannot read '{}': {}", name, std::strerror(error)), hint);
}

std::int64_t modification_time(const struct stat& status) {
  return status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
}

[[noreturn]] void fail_folder(const std::string& name) {
  throw Error(ExitCode::data, fmt::format("'{}' is a folder, not a file", name));
}

}  // namespace

void require_readable(const std::filesystem::path& path) {
  struct stat status {};
  if (::access(path.c_str(), R_OK) != 0 || ::stat(path.c_str(), &status) != 0) fail(path.string(), errno);
  if (S_ISDIR(status.st_mode)) fail_folder(path.string());
}

TextSource::TextSource(const std::filesystem::path& path) : path_(path) {
  const bool standard_input = path == "-";
  const Descriptor file{standard_input ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC), !standard_input};
  struct stat status {};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) fail(name(), errno);
  if (S_ISDIR(status.st_mode)) fail_folder(name());
  if (standard_input || !S_ISREG(status.st_mode)) {
    read_all(file.fd);
    return;
  }
  modified_ns_ = modification_time(status);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (mapped == MAP_FAILED) {  // some file systems cannot map
    read_all(file.fd);
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

std::string TextSource::name() const {
  return path_ == "-" ? "standard input" : path_.string();
}

void TextSource::read_all(int descriptor) {
  std::array<char, 1 << 16> block;
  for (;;) {
    const ssize_t count = ::read(descriptor, block.data(), block.size());
    if (count == 0) break;
    if (count > 0) content_.append(block.data(), static_cast<std::size_t>(count));
    if (count < 0 && errno != EINTR) fail(name(), errno);
  }
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
  if (::stat(path_.c_str(), &status) != 0) fail(name(), errno);
  if (static_cast<std::size_t>(status.st_size) == bytes_.size() && modification_time(status) == modified_ns_) return;
  throw Error(ExitCode::data, fmt::format("'{}' changed while it was read", name()), "run again once it is complete");
}

}  // namespace bertdist
