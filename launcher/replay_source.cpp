#include "replay_source.h"

#include <fmt/format.h>

#include "base/error.h"

namespace bertdist {

Config configuration_of_run(const ReplayRequest& request, const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "config.toml";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) {
    const bool is_folder = std::filesystem::is_directory(folder, ignored);
    throw Error(ExitCode::configuration,
                is_folder ? fmt::format("'{}' is not the output_dir of a training: it has no config.toml", request.run)
                          : fmt::format("there is no run '{}'", request.run),
                "name the output_dir of a bertdist train, such as runs/urls");
  }
  std::vector<std::string> arguments = {"--config", file.string()};
  arguments.insert(arguments.end(), request.arguments.begin(), request.arguments.end());
  Config config = parse_config(Command::train, arguments);
  config.validation_file.clear();  // a step is of training rows alone
  config.test_file.clear();
  return config;
}

}  // namespace bertdist
