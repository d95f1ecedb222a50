#pragma once

#include <filesystem>
#include <optional>
#include <utility>

namespace bertdist {

// An advisory lock on a file, held until it is destroyed or the process ends, however it ends. The file is removed with
// the lock.
class FileLock {
 public:
  // Nothing while another process holds it. Throws Error(output) where the file cannot be made.
  static std::optional<FileLock> try_acquire(const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), locked_(other.locked_) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(locked_, other.locked_);
    return *this;
  }
  FileLock(const FileLock&) = delete;

  // False on a file system without locks: two processes may then both have one.
  bool locked() const { return locked_; }

 private:
  FileLock(std::filesystem::path path, int descriptor, bool locked)
      : path_(std::move(path)), descriptor_(descriptor), locked_(locked) {}

  std::filesystem::path path_;
  int descriptor_;
  bool locked_;
};

}  // namespace bertdist
