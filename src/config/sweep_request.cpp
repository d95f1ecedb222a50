#include "config/sweep_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/error.h"

namespace bertdist {
namespace {

// Takes `--name value` or `--name=value` from the arguments; empty where it is not there.
std::string take_value(std::vector<std::string>& arguments, const std::string& name) {
  const std::string key = "--" + name;
  for (auto it = arguments.begin(); it != arguments.end(); ++it) {
    if (it->starts_with(key + "=")) {
      const std::string value = it->substr(key.size() + 1);
      arguments.erase(it);
      return value;
    }
    if (*it != key) continue;
    if (std::next(it) == arguments.end() || std::next(it)->starts_with("--")) {
      throw Error(ExitCode::configuration, key + ": no value follows", fmt::format("write {} VALUE", key));
    }
    const std::string value = *std::next(it);
    arguments.erase(it, it + 2);
    return value;
  }
  return "";
}

// Takes what follows "--" from the arguments.
std::vector<std::string> take_rest(std::vector<std::string>& arguments) {
  const auto separator = std::find(arguments.begin(), arguments.end(), "--");
  if (separator == arguments.end()) return {};
  std::vector<std::string> rest(std::next(separator), arguments.end());
  arguments.erase(separator, arguments.end());
  return rest;
}

// 1 where nothing was given.
std::int64_t positive(const std::string& text, std::string_view name) {
  std::int64_t number = 1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || (error == std::errc{} && end == text.data() + text.size() && number > 0)) return number;
  throw Error(ExitCode::configuration, fmt::format("--{}: expected a whole number above 0, not {}", name, text));
}

void require_extension(const std::string& file) {
  if (file.empty() || file.ends_with(".csv") || file.ends_with(".jsonl")) return;
  throw Error(ExitCode::configuration, fmt::format("--output_file: {} is neither .csv nor .jsonl", file),
              "the extension decides the format");
}

std::string only_folder(const std::vector<std::string>& arguments) {
  if (arguments.size() == 1 && !arguments[0].starts_with("--")) return arguments[0];
  throw Error(ExitCode::configuration, "the action takes one folder", "name the output_dir of the sweep");
}

}  // namespace

SweepRequest parse_sweep_request(SweepAction action, std::vector<std::string> arguments) {
  SweepRequest request;
  request.action = action;
  if (action == SweepAction::submit) request.sbatch_options = take_rest(arguments);
  if (action == SweepAction::run || action == SweepAction::submit) {
    request.trials = take_value(arguments, "trials");
    request.trials_per_task = positive(take_value(arguments, "trials_per_task"), "trials_per_task");
  }
  if (action == SweepAction::plan) request.curves_file = take_value(arguments, "simulate");
  if (action == SweepAction::plan || action == SweepAction::export_results) {
    request.output_file = take_value(arguments, "output_file");
    require_extension(request.output_file);
  }
  if (action == SweepAction::plan || action == SweepAction::run || action == SweepAction::submit) {
    request.arguments = arguments;
    request.file.emplace(arguments);
  } else {
    request.folder = only_folder(arguments);
  }
  return request;
}

}  // namespace bertdist
