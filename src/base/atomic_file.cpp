#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(std::string_view action, const fs::path& path, int error) {
  throw Error(ExitCode::output, fmt::format("cannot {} '{}': {}", action, path.string(), std::strerror(error)),
              error == ENOSPC || error == EDQUOT
                  ? "the disk or the quota is full; free some space or choose another place"
                  : "check that the folder exists and that you may write there");
}

class FileDescriptor {
 public:
  FileDescriptor(const fs::path& path, int flags, mode_t mode = 0)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

void fsync_path(const fs::path& path) {
  const FileDescriptor file(path, O_RDONLY);
  // Some network file systems cannot sync a folder and say EINVAL; the rename is then as durable as they make it.
  if (!file.is_open() || (::fsync(file.get()) != 0 && errno != EINVAL)) fail("sync", path, errno);
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

fs::path temporary_name(const fs::path& target) {
  return parent_of(target) / fmt::format(".{}.{}.tmp", target.filename().string(), ::getpid());
}

// Failures are told of `target`.
void write_content(const fs::path& path, const fs::path& target, std::string_view content) {
  const FileDescriptor out(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (!out.is_open()) fail("create", target, errno);
  while (!content.empty()) {
    const ssize_t written = ::write(out.get(), content.data(), content.size());
    if (written < 0 && errno != EINTR) fail("write", target, errno);
    if (written > 0) content.remove_prefix(static_cast<std::size_t>(written));
  }
}

void rename_durably(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("rename to", to, errno);
  fsync_path(parent_of(to));
}

// Puts the folder `from` in the place of the folder `to`, which comes to be at `from`.
void exchange_durably(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    fsync_path(parent_of(to));
    return;
  }
  if (errno != EINVAL && errno != ENOSYS) fail("replace", to, errno);
  // A file system that cannot exchange, NFS for one: for a moment there is no folder, but never half of one.
  const fs::path aside = temporary_name(from);
  rename_durably(to, aside);
  rename_durably(from, to);
  rename_durably(aside, from);
}

}  // namespace

void remove_directory_atomically(const fs::path& path) {
  const fs::path aside = temporary_name(path);
  rename_durably(path, aside);
  std::error_code error;
  fs::remove_all(aside, error);
  if (error) fail("remove", path, error.value());
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("create folder", path, error.value());
}

void write_file(const fs::path& path, std::string_view content) {
  write_content(path, path, content);
}

void write_file_atomically(const fs::path& target, std::string_view content) {
  AtomicFile file(target);
  write_content(file.temporary_path(), target, content);
  file.commit();
}

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)), temporary_(temporary_name(target_)) {}

AtomicFile::~AtomicFile() {
  std::error_code ignored;
  if (!committed_) fs::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  fsync_path(temporary_);
  rename_durably(temporary_, target_);
  committed_ = true;
}

AtomicDirectory::AtomicDirectory(fs::path target) : target_(std::move(target)), temporary_(temporary_name(target_)) {
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  make_directories(temporary_);
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) fsync_path(entry.path());
  fsync_path(temporary_);
  std::error_code ignored;
  if (fs::is_directory(target_, ignored)) {
    exchange_durably(temporary_, target_);
    fs::remove_all(temporary_, ignored);
  } else {
    rename_durably(temporary_, target_);
  }
  committed_ = true;
}

}  // namespace bertdist
