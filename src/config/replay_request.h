#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bertdist {

// `bertdist replay RUN --step K [--key value ...]`.
struct ReplayRequest {
  std::string run;                     // the output_dir of a training
  std::int64_t step = 1;               // from 1
  std::vector<std::string> arguments;  // keys that win over the run's configuration
};

// From the arguments behind the command. Throws Error(configuration).
ReplayRequest parse_replay_request(std::vector<std::string> arguments);

}  // namespace bertdist
