#include "report/run_log.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "base/atomic_file.h"
#include "base/error.h"

namespace bertdist {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path) {
  const int error = errno;
  throw Error(ExitCode::output, fmt::format("cannot write '{}': {}", path.string(), std::strerror(error)),
              "check that there is space and that you may write there");
}

void write_all(int fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) fail(path);
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool ends_in_the_middle_of_a_line(int fd) {
  const off_t size = ::lseek(fd, 0, SEEK_END);
  char last = '\n';
  return size > 0 && ::pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

std::string utc_now() {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto millis = now.time_since_epoch().count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)), millis);
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& output_dir) : path_(output_dir / "run_log.jsonl") {
  make_directories(output_dir);
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(path_);
  if (ends_in_the_middle_of_a_line(fd_)) write_all(fd_, "\n", path_);
}

RunLog::~RunLog() {
  ::close(fd_);
}

void RunLog::append(const nlohmann::ordered_json& event) {
  nlohmann::ordered_json line = {{"time", utc_now()}};
  line.update(event);
  // One write a line, so that a reader who follows the file sees whole lines.
  write_all(fd_, line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n", path_);
}

}  // namespace bertdist
