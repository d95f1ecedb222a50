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
constexpr const char* kEndedSuffix = ".ended";

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
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    if (name.ends_with(kEndedSuffix)) fs::remove_all(entry.path(), error);
    const fs::path owner = entry.path() / kOwner;
    if (!fs::exists(owner, error)) continue;
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
  return remove_folder();
}

fs::path WorkQueue::ended_folder() const {
  return folder_.string() + kEndedSuffix;
}

// Of two takers that find at the same moment that all have ended, only one can give the folder its last name: it
// returns true.
bool WorkQueue::remove_folder() const {
  std::error_code error;
  fs::rename(folder_, ended_folder(), error);
  if (error) return false;
  fs::remove_all(ended_folder(), error);
  // Some file systems keep files that another process has open: the others must not wait for these.
  if (error) fs::rename(ended_folder(), folder_.string() + ".left" + kEndedSuffix, error);
  return true;
}

void WorkQueue::stop(int taker) {
  create(kStopped);
  create(stopped(taker));
}

bool WorkQueue::all_have_ended(int num_takers) {
  for (int taker = 0; taker < num_takers && exists("."); ++taker) {
    if (!exists(left(taker)) && !exists(stopped(taker))) return false;
  }
  remove_folder();
  // Who returns ends the job, and with it whoever is still removing files.
  std::error_code error;
  return !exists(".") && !fs::exists(ended_folder(), error);
}

}  // namespace bertdist
