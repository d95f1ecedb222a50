#include "config/config.h"
#include "base/nearest_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "config/given.h"

namespace bertdist {
namespace {

constexpr std::array<std::pair<std::string_view, Command>, 5> kCommands{{{"train", Command::train},
                                                                         {"prepare", Command::prepare},
                                                                         {"tokenize", Command::tokenize},
                                                                         {"evaluate", Command::evaluate},
                                                                         {"predict", Command::predict}}};

// Of two keys that exclude each other, one on the command line replaces the other one of the file.
void let_command_line_win(Config& config, Given& given) {
  const auto from_command_line = [&](std::string_view key) {
    const auto place = given.find(key);
    return place != given.end() && place->second.starts_with("--");
  };
  const bool global = from_command_line("global_batch_size");
  const bool per_device = from_command_line("per_device_train_batch_size");
  if (global && !per_device) {
    config.per_device_train_batch_size = Config().per_device_train_batch_size;
    given.erase("per_device_train_batch_size");
  } else if (per_device && !global) {
    config.global_batch_size.reset();
    given.erase("global_batch_size");
  }
}

}  // namespace

std::string_view command_name(Command command) {
  return std::find_if(kCommands.begin(), kCommands.end(), [&](const auto& c) { return c.second == command; })->first;
}

Invocation parse_invocation(std::vector<std::string> arguments) {
  Invocation invocation;
  if (!arguments.empty() && !arguments[0].starts_with('-')) {
    const auto found =
        std::find_if(kCommands.begin(), kCommands.end(), [&](const auto& c) { return c.first == arguments[0]; });
    if (found == kCommands.end()) {
      std::vector<std::string_view> names;
      for (const auto& [name, command] : kCommands) names.push_back(name);
      const std::string_view nearest = nearest_name(arguments[0], names);
      throw Error(ExitCode::configuration, fmt::format("unknown command \"{}\"", arguments[0]),
                  nearest.empty() ? "the commands are train, prepare, tokenize, evaluate and predict"
                                  : fmt::format("did you mean \"{}\"?", nearest));
    }
    invocation.command = found->second;
    arguments.erase(arguments.begin());
  }
  const auto asks = [&](std::string_view a, std::string_view b) {
    return std::any_of(arguments.begin(), arguments.end(), [&](const auto& given) { return given == a || given == b; });
  };
  invocation.help = asks("--help", "-h");
  invocation.version = asks("--version", "-V");
  invocation.arguments = std::move(arguments);
  return invocation;
}

Config parse_config(Command command, const std::vector<std::string>& arguments) {
  Config config;
  Given given;
  const CommandLine command_line = split_command_line(arguments);
  if (!command_line.config_file.empty()) read_file(command_line.config_file, config, given);
  read_arguments(command_line, config, given);
  let_command_line_win(config, given);
  resolve(config, given);
  validate(command, config, given);
  return config;
}

std::int64_t num_warmup_steps(const Config& config, std::int64_t num_training_steps) {
  if (config.warmup_steps >= 1) return static_cast<std::int64_t>(config.warmup_steps);
  const double share = config.warmup_steps > 0 ? config.warmup_steps : config.warmup_ratio;
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(num_training_steps) * share));
}

}  // namespace bertdist
