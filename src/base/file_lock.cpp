#include "base/file_lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

// The holder removes the file with the lock, so the path may by now name another file than the one that was opened.
bool is_file_at(int descriptor, const fs::path& path) {
  struct stat opened {};
  struct stat present {};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &present) == 0 && opened.st_ino == present.st_ino &&
         opened.st_dev == present.st_dev;
}

}  // namespace

std::optional<FileLock> FileLock::try_acquire(const fs::path& path) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) {
      throw Error(ExitCode::output, fmt::format("cannot create '{}': {}", path.string(), std::strerror(errno)),
                  "its folder must be one that you may write to");
    }
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      if (error != EWOULDBLOCK && error != EINTR) return FileLock(path, descriptor, false);
      ::close(descriptor);
      return std::nullopt;
    }
    if (is_file_at(descriptor, path)) return FileLock(path, descriptor, true);
    ::close(descriptor);
  }
}

FileLock::~FileLock() {
  if (descriptor_ < 0) return;
  if (locked_) ::unlink(path_.c_str());
  ::close(descriptor_);
}

}  // namespace bertdist
