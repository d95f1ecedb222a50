#include "config/sweep_request.h"

#include <fmt/format.h>

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
  if (action == SweepAction::run) request.trials = take_value(arguments, "trials");
  if (action == SweepAction::plan) request.curves_file = take_value(arguments, "simulate");
  if (action == SweepAction::plan || action == SweepAction::export_results) {
    request.output_file = take_value(arguments, "output_file");
    require_extension(request.output_file);
  }
  if (action == SweepAction::plan || action == SweepAction::run) {
    request.file.emplace(arguments);
  } else {
    request.folder = only_folder(arguments);
  }
  return request;
}

}  // namespace bertdist
