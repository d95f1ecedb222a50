#include "config/sweep_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "config/arguments.h"

namespace bertdist {
namespace {

// Takes what follows "--" from the arguments.
std::vector<std::string> take_rest(std::vector<std::string>& arguments) {
  const auto separator = std::find(arguments.begin(), arguments.end(), "--");
  if (separator == arguments.end()) return {};
  std::vector<std::string> rest(std::next(separator), arguments.end());
  arguments.erase(separator, arguments.end());
  return rest;
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
    request.trials = take_value(arguments, "trials").value_or("");
    request.trials_per_task =
        positive_number(take_value(arguments, "trials_per_task").value_or("1"), "trials_per_task");
  }
  if (action == SweepAction::plan) request.curves_file = take_value(arguments, "simulate").value_or("");
  if (action == SweepAction::plan || action == SweepAction::export_results) {
    request.output_file = take_value(arguments, "output_file").value_or("");
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
