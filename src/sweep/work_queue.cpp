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

constexpr const char* kStopped = "stopped";

std::string left(int taker) {
  return fmt::format("left-{}", taker);
}

std::string stopped(int taker) {
  return fmt::format("stopped-{}", taker);
}

[[noreturn]] void fail(const std::filesystem::path& path) {
  const int error = errno;
  throw Error(ExitCode::output, fmt::format("cannot create '{}': {}", path.string(), std::strerror(error)),
              "the ranks share the sweep's folder: it must be on a file system that all of them can write to");
}

}  // namespace

std::filesystem::path WorkQueue::create_folder(const std::filesystem::path& parent) {
  make_directories(parent);
  std::string pattern = (parent / ".queue-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) fail(pattern);
  return pattern;
}

bool WorkQueue::create(const std::string& name) const {
  const std::filesystem::path path = folder_ / name;
  if (::mkdir(path.c_str(), 0777) == 0) return true;
  if (errno != EEXIST) fail(path);
  return false;
}

bool WorkQueue::exists(const std::string& name) const {
  std::error_code error;
  return std::filesystem::exists(folder_ / name, error);
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
  if (!std::filesystem::create_directory(folder_ / "last", error)) return false;
  std::filesystem::remove_all(folder_, error);
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
  std::filesystem::remove_all(folder_, error);
  return true;
}

}  // namespace bertdist
