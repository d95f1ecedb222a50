#include "config/replay_request.h"

#include "base/error.h"
#include "config/arguments.h"

namespace bertdist {

ReplayRequest parse_replay_request(std::vector<std::string> arguments) {
  constexpr auto kUsage = "bertdist replay RUN --step K";
  if (arguments.empty() || arguments[0].starts_with("--")) {
    throw Error(ExitCode::configuration, "no run to replay is named",
                std::string("name the output_dir of a training: ") + kUsage);
  }
  ReplayRequest request;
  request.run = arguments[0];
  arguments.erase(arguments.begin());
  const std::optional<std::string> step = take_value(arguments, "step");
  if (!step) throw Error(ExitCode::configuration, "--step is missing: which step to replay, from 1", kUsage);
  request.step = positive_number(*step, "step");
  request.arguments = std::move(arguments);
  return request;
}

}  // namespace bertdist
