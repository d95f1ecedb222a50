#include "config/config.h"
#include "base/nearest_name.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "config/given.h"
#include "config/option.h"
#include "config/toml_file.h"

namespace bertdist {
namespace {

constexpr std::array<std::pair<std::string_view, Command>, 7> kCommands{{{"train", Command::train},
                                                                         {"prepare", Command::prepare},
                                                                         {"tokenize", Command::tokenize},
                                                                         {"evaluate", Command::evaluate},
                                                                         {"predict", Command::predict},
                                                                         {"sweep", Command::sweep},
                                                                         {"replay", Command::replay}}};
constexpr std::array<std::pair<std::string_view, SweepAction>, 6> kSweepActions{
    {{"plan", SweepAction::plan},
     {"run", SweepAction::run},
     {"submit", SweepAction::submit},
     {"status", SweepAction::status},
     {"best", SweepAction::best},
     {"export", SweepAction::export_results}}};

// Takes the first argument, which must be one of the names, from the arguments. `kind` is what it is in a message.
template <typename Names>
auto take_name(std::vector<std::string>& arguments, const Names& names, std::string_view kind) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == arguments[0]; });
  if (found == names.end()) {
    std::vector<std::string_view> words;
    for (const auto& [name, meaning] : names) words.push_back(name);
    const std::string_view nearest = nearest_name(arguments[0], words);
    throw Error(ExitCode::configuration, fmt::format("unknown {} \"{}\"", kind, arguments[0]),
                nearest.empty() ? fmt::format("one of {}", fmt::join(words, ", "))
                                : fmt::format("did you mean \"{}\"?", nearest));
  }
  arguments.erase(arguments.begin());
  return found->second;
}

// Without arguments these have nothing to do.
bool takes_folder_or_action(Command command) {
  return command == Command::sweep || command == Command::replay;
}

bool begins_with_name(const std::vector<std::string>& arguments) {
  return !arguments.empty() && !arguments[0].starts_with('-');
}

}  // namespace

std::string_view command_name(Command command) {
  return std::find_if(kCommands.begin(), kCommands.end(), [&](const auto& c) { return c.second == command; })->first;
}

bool uses_option(Command command, std::string_view key) {
  const Option* option = find_option(key);
  return option != nullptr && (option->commands & only(command)) != 0;
}

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

Invocation parse_invocation(std::vector<std::string> arguments) {
  Invocation invocation;
  const bool asks_as_command = !arguments.empty() && arguments[0] == "help";
  if (asks_as_command) arguments.erase(arguments.begin());
  if (begins_with_name(arguments)) invocation.command = take_name(arguments, kCommands, "command");
  const auto asks = [&](std::string_view a, std::string_view b) {
    return std::any_of(arguments.begin(), arguments.end(), [&](const auto& given) { return given == a || given == b; });
  };
  invocation.help =
      asks_as_command || asks("--help", "-h") || (takes_folder_or_action(invocation.command) && arguments.empty());
  if (invocation.command == Command::sweep && !invocation.help) {
    if (!begins_with_name(arguments)) arguments.insert(arguments.begin(), "run");
    invocation.sweep_action = take_name(arguments, kSweepActions, "action of a sweep");
  }
  invocation.version = asks("--version", "-V");
  invocation.arguments = std::move(arguments);
  return invocation;
}

Config parse_config(Command command, const std::vector<std::string>& arguments) {
  Config config;
  Given given;
  const CommandLine command_line = split_command_line(arguments);
  const std::string& file = command_line.config_file;
  if (!file.empty()) read_keys(parse_toml(read_text_file(file), file), file, config, given);
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
