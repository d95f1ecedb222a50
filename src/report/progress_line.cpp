#include "report/progress_line.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "report/table.h"

namespace bertdist {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTerminalInterval{100};
constexpr seconds kShortestInterval{5};
constexpr seconds kLongestInterval{60};
constexpr std::string_view kEraseLine = "\r\x1b[K";

// 0 when `fd` is no terminal.
std::size_t terminal_columns(int fd) {
  if (!::isatty(fd)) return 0;
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::size_t launcher_terminal_columns() {
  const int fd = ::open(fmt::format("/proc/{}/fd/2", ::getppid()).c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return 0;
  const std::size_t columns = terminal_columns(fd);
  ::close(fd);
  return columns;
}

}  // namespace

ProgressSink standard_error_sink() {
  std::size_t columns = terminal_columns(STDERR_FILENO);
  if (columns == 0 && std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) columns = launcher_terminal_columns();
  const auto write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  return {columns > 0, columns, write, std::chrono::steady_clock::now};
}

ProgressLine::ProgressLine(std::int64_t first_step, ProgressSink sink)
    : sink_(std::move(sink)), first_step_(first_step), start_(sink_.now()) {}

void ProgressLine::update(const TrainingProgress& progress) {
  const TimePoint now = sink_.now();
  if (!is_due(progress, now)) return;
  std::string line = text(progress, now);
  if (sink_.is_terminal) {
    // The last column stays free: some terminals wrap as soon as it is written.
    line.resize(std::min(line.size(), sink_.columns - 1));
    sink_.write(fmt::format("{}{}", kEraseLine, line));
  } else {
    sink_.write(line + "\n");
  }
  visible_ = sink_.is_terminal;
  last_print_ = now;
  last_tenth_ = progress.num_steps > 0 ? 10 * progress.step / progress.num_steps : 0;
}

void ProgressLine::clear() {
  if (!visible_) return;
  sink_.write(kEraseLine);
  visible_ = false;
}

bool ProgressLine::is_due(const TrainingProgress& progress, TimePoint now) const {
  if (sink_.is_terminal)
    return !visible_ || now - *last_print_ >= kTerminalInterval || progress.step == progress.num_steps;
  const auto quiet = now - last_print_.value_or(start_);
  const bool in_next_tenth = progress.num_steps > 0 && 10 * progress.step / progress.num_steps > last_tenth_;
  return quiet >= kLongestInterval || (quiet >= kShortestInterval && in_next_tenth);
}

std::string ProgressLine::text(const TrainingProgress& progress, TimePoint now) const {
  const double elapsed = duration<double>(now - start_).count();
  const std::int64_t steps_done = progress.step - first_step_;
  const std::int64_t steps_left = progress.num_steps - progress.step;
  std::string line = fmt::format("epoch {}/{}  step {}/{}  loss {:.4f}", progress.epoch, progress.num_epochs,
                                 progress.step, progress.num_steps, progress.loss);
  if (elapsed <= 0 || steps_done <= 0) return line;
  const double tokens_per_second = static_cast<double>(progress.num_tokens) / elapsed;
  const double seconds_left = elapsed / static_cast<double>(steps_done) * static_cast<double>(steps_left);
  return line + fmt::format("  {} tokens/s  ETA {}",
                            with_thousands_separators(static_cast<long long>(tokens_per_second)),
                            format_duration(seconds(static_cast<std::int64_t>(seconds_left))));
}

std::string format_duration(seconds duration) {
  const std::int64_t total = duration.count();
  const std::int64_t hours = total / 3600, minutes = total / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

}  // namespace bertdist
