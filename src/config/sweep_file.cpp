#include "config/sweep_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "config/option.h"
#include "config/sweep_table.h"
#include "config/toml_file.h"

namespace bertdist {
namespace {

[[noreturn]] void fail(const std::string& message, const std::string& hint) {
  throw Error(ExitCode::configuration, message, hint);
}

// Sweep and trials have folders of their own, and a sweep that is run again goes on by itself.
void require_no_run_keys(const Given& given) {
  for (const std::string_view key : {"overwrite_output_dir", "resume_from_checkpoint"}) {
    if (const auto place = given.find(key); place != given.end()) {
      fail(place->second + ": it means nothing to a sweep",
           "run the sweep again and it goes on with the trials that are missing; to start anew, choose another "
           "output_dir");
    }
  }
}

}  // namespace

SweepFile::SweepFile(const std::vector<std::string>& arguments) : command_line_(split_command_line(arguments)) {
  file_ = command_line_.config_file;
  if (file_.empty()) fail("a sweep is described by a file", "give it as --config FILE");
  text_ = read_text_file(file_);
  const toml::table keys = parse_toml(text_, file_);
  const toml::node* table = keys.get("sweep");
  if (!table) fail(file_ + ": there is no [sweep] table", "docs/sweeps.md describes it");
  spec_ = read_sweep_table(Value("sweep", *table, file_), file_);

  Config common;
  Given given;
  read_common(common, given);
  require_no_run_keys(given);
  for (const SweepSpec::Parameter& parameter : spec_.parameters) {
    const auto place = given.find(parameter.name);
    if (place == given.end()) continue;
    fail(fmt::format("{}: {} is a parameter of the sweep too", place->second, parameter.name),
         "remove one of the two; a parameter that is to be the same in all trials is {value = ...}");
  }
  if (common.debug) fail("a sweep has no debug mode", "debug one of its trials: its folder holds its config.toml");
  if (common.output_dir.empty()) fail("output_dir is missing: the folder of the sweep", "give it in the --config file");
  output_dir_ = common.output_dir;
}

void SweepFile::read_common(Config& config, Given& given) const {
  read_keys(parse_toml(text_, file_), file_, config, given);
  read_arguments(command_line_, config, given);
  let_command_line_win(config, given);
}

Config SweepFile::trial_config(const std::string& trial_name, const std::vector<Assignment>& parameters,
                               const std::string& trial_output_dir) const {
  Config config;
  Given given;
  try {
    read_common(config, given);
    for (const Assignment& parameter : parameters) {
      // A copy has no line of its own: what a message names is the trial.
      const toml::table holder(toml::parse("value = " + parameter.value));
      const toml::table value = holder;
      find_option(parameter.name)->read(Value(parameter.name, *value.get("value"), trial_name), config);
      given[parameter.name] = fmt::format("{}: {}", trial_name, parameter.name);
    }
    config.output_dir = trial_output_dir;
    if (given.find("metric_for_best_model") == given.end()) {
      config.metric_for_best_model = spec_.metric.name;
      if (given.emplace("greater_is_better", "sweep.metric").second) config.greater_is_better = spec_.metric.maximize;
    }
    resolve(config, given);
    validate(Command::train, config, given);
    if (!has_validation_set(config)) {
      fail("there is nothing to compare trials by: no validation set",
           "give a validation_file, or a validation_split such as 0.1");
    }
  } catch (const Error& error) {
    const std::string message = error.what();
    throw Error(error.code(), message.starts_with(trial_name) ? message : trial_name + ": " + message, error.hint());
  }
  return config;
}

std::string SweepFile::to_toml() const {
  Config common;
  Given given;
  read_common(common, given);
  std::string text;
  for (const Option& option : options()) {
    if (given.find(option.name) == given.end()) continue;
    if (const auto value = option.write(common)) text += fmt::format("{} = {}\n", option.name, *value);
  }
  return text + "\n" + bertdist::to_toml(spec_);
}

bool has_sweep_table(const std::vector<std::string>& arguments) {
  const std::string file = split_command_line(arguments).config_file;
  return !file.empty() && parse_toml(read_text_file(file), file).contains("sweep");
}

}  // namespace bertdist
