#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace bertdist {

// Lines for the user on standard error. Rank 0 alone speaks, except for warnings, which name the rank that gives them.
class Log {
 public:
  Log(int rank, int world_size) : rank_(rank), world_size_(world_size) {}

  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    if (rank_ == 0) write("", fmt::format(format, std::forward<Args>(args)...));
  }

  template <typename... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    write("warning: ", fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void write(std::string_view severity, std::string_view text) const;

  int rank_;
  int world_size_;
};

// "[rank 0] error: …" and, unless it is empty, a line with the hint, on standard error. Any rank may fail.
void print_error(int rank, std::string_view message, std::string_view hint);

}  // namespace bertdist
