#include "sweep/work_queue.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/atomic_file.h"
#include "base/error.h"

namespace bertdist {

namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = ".queue-";
constexpr const char* kOwner = "owner";
constexpr const char* kStopped = "stopped";

std::string left(int taker) {
  return fmt::format("left-{}", taker);
}

std::string stopped(int taker) {
  return fmt::format("stopped-{}", taker);
}

[[noreturn]] void fail(const fs::path& path) {
  const int error = errno;
  throw Error(ExitCode::output, fmt::format("cannot create '{}': {}", path.string(), std::strerror(error)),
              "the ranks share the sweep's folder: it must be on a file system that all of them can write to");
}

void remove_abandoned(const fs::path& parent) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    const fs::path owner = entry.path() / kOwner;
    if (!entry.path().filename().string().starts_with(kPrefix) || !fs::exists(owner, error)) continue;
    try {
      const std::optional<FileLock> lock = FileLock::try_acquire(owner);
      if (lock && lock->locked()) fs::remove_all(entry.path(), error);
    } catch (const Error&) {
      continue;  // it has just gone, or is another user's
    }
  }
}

}  // namespace

QueueFolder::QueueFolder(const fs::path& parent) {
  make_directories(parent);
  remove_abandoned(parent);
  while (!lock_) {
    std::string pattern = (parent / (std::string(kPrefix) + "XXXXXX")).string();
    if (::mkdtemp(pattern.data()) == nullptr) fail(pattern);
    path_ = pattern;
    try {
      lock_ = FileLock::try_acquire(path_ / kOwner);
    } catch (const Error&) {
      // Another process, which looked at the same moment, took it for abandoned.
      if (fs::exists(path_)) throw;
    }
  }
}

bool WorkQueue::create(const std::string& name) const {
  const fs::path path = folder_ / name;
  if (::mkdir(path.c_str(), 0777) == 0) return true;
  if (errno != EEXIST) fail(path);
  return false;
}

bool WorkQueue::exists(const std::string& name) const {
  std::error_code error;
  return fs::exists(folder_ / name, error);
}

std::optional<std::int64_t> WorkQueue::next() {
  while (position_ < num_items_ && !exists(kStopped)) {
    const std::int64_t item = position_++;
    if (create(fmt::format("item-{}", item))) return item;
  }
  return std::nullopt;
}

bool WorkQueue::leave(int taker, int num_takers) {
  create(left(taker));
  for (int other = 0; other < num_takers; ++other) {
    if (!exists(left(other))) return false;
  }
  // Of two that leave at the same moment both may see all the others; only one can claim to be the last.
  // By then the folder may be gone.
  std::error_code error;
  if (!fs::create_directory(folder_ / "last", error)) return false;
  fs::remove_all(folder_, error);
  return true;
}

void WorkQueue::stop(int taker) {
  create(kStopped);
  create(stopped(taker));
}

bool WorkQueue::all_have_ended(int num_takers) {
  for (int taker = 0; taker < num_takers; ++taker) {
    if (!exists(".") || exists(left(taker)) || exists(stopped(taker))) continue;
    return false;
  }
  std::error_code error;
  fs::remove_all(folder_, error);
  return true;
}

}  // namespace bertdist
