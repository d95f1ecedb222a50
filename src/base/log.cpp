#include "base/log.h"

#include <cctype>
#include <cstdio>
#include <string>

namespace bertdist {

void Log::write(std::string_view severity, std::string_view text) const {
  const std::string prefix = world_size_ > 1 && !severity.empty() ? fmt::format("[rank {}] ", rank_) : "";
  // One fwrite a line: lines of several ranks, joined by mpirun, must not be torn.
  const std::string line = fmt::format("{}{}{}\n", prefix, severity, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

void print_error(int rank, std::string_view message, std::string_view hint) {
  std::string text = fmt::format("[rank {}] error: {}\n", rank, message);
  if (!hint.empty()) text += fmt::format("[rank {}] hint: {}\n", rank, hint);
  // A message may quote a file's bytes; those that steer a terminal are not for it.
  for (char& c : text) {
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0 && c != '\n' && c != '\t') c = '?';
  }
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace bertdist
