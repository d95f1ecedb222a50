#include "base/log.h"

#include <cstdio>

namespace bertdist {

void Log::write(std::string_view severity, std::string_view text) const {
  const std::string prefix = world_size_ > 1 && !severity.empty() ? fmt::format("[rank {}] ", rank_) : "";
  // One fwrite a line: lines of several ranks, joined by mpirun, must not be torn.
  const std::string line = fmt::format("{}{}{}\n", prefix, severity, text);
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace bertdist
