#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "commands.h"
#include "report/table.h"
#include "sweep/search_space.h"
#include "sweep/simulation.h"
#include "sweep/trial_table.h"
#include "sweep_summary.h"
#include "trial_check.h"

namespace bertdist {

namespace {

using Json = nlohmann::ordered_json;

void print_plan(const std::vector<Trial>& trials) {
  std::vector<Column> columns{{"trial", Align::right}};
  for (const Assignment& parameter : trials.front().parameters) columns.push_back({parameter.name, Align::right});
  TablePrinter table(columns);
  for (const Trial& trial : trials) {
    std::vector<std::string> cells{fmt::format("{}", trial.index)};
    for (const Assignment& parameter : trial.parameters) cells.push_back(short_value(parameter.value));
    table.add_row(std::move(cells));
  }
  fmt::print("{} trials\n\n{}", trials.size(), table.to_string());
}

void simulate(const SweepSpec& spec, const std::string& curves_file) {
  const Simulation simulation = simulate_early_stopping(spec, read_evaluations(curves_file));
  TablePrinter table({{"trial", Align::right},
                      {"evaluations", Align::right},
                      {"of", Align::right},
                      {"best", Align::right},
                      {"outcome"}});
  for (const SimulatedTrial& trial : simulation.trials) {
    table.add_row({std::to_string(trial.trial), std::to_string(trial.num_evaluations),
                   std::to_string(trial.num_recorded), trial.best ? fmt::format("{:.6g}", *trial.best) : "undefined",
                   trial.stopped ? "stopped" : "finished"});
  }
  fmt::print("{}\n{} of {} trials stopped early; {} of {} evaluations run ({:.1f} %)\n", table.to_string(),
             simulation.num_stopped, simulation.trials.size(), simulation.num_evaluations, simulation.num_recorded,
             100.0 * static_cast<double>(simulation.num_evaluations) / static_cast<double>(simulation.num_recorded));
  const auto print_best = [](const char* search, std::int64_t trial, const std::optional<double>& value) {
    fmt::print("best of {}: trial {} with {}\n", search, trial, value ? fmt::format("{:.6g}", *value) : "undefined");
  };
  print_best("the full search", simulation.full_best_trial, simulation.full_best);
  print_best("the shortened one", simulation.best_trial, simulation.best);
}

void plan(const Request& request) {
  const SweepRequest& sweep = *request.sweep;
  if (!sweep.curves_file.empty()) return simulate(sweep.file->spec(), sweep.curves_file);
  const Log log(/*rank=*/0, /*world_size=*/1);
  for (const std::string& model : check_trials_with_models(request.trials)) {
    log.warn("the model '{}' is not here: max_seq_length and freeze are not held against it", model);
  }
  if (sweep.output_file.empty()) return print_plan(request.trials);
  write_trial_table(sweep.output_file, request.trials);
  fmt::print("{} trials in '{}'\n", request.trials.size(), sweep.output_file);
}

// A sweep that was run, as its folder has it.
struct RecordedSweep {
  SweepFolder folder;
  SweepFile file;
  SweepResults results;
};

RecordedSweep open_sweep(const std::string& path) {
  SweepFolder folder(path);
  if (!std::filesystem::exists(folder.sweep_toml())) {
    throw Error(ExitCode::data, fmt::format("'{}' is not the folder of a sweep: it has no sweep.toml", path),
                "name the output_dir of a sweep that was run");
  }
  return {folder, SweepFile({"--config", folder.sweep_toml().string()}), read_results(folder.path())};
}

void status(const RecordedSweep& sweep) {
  print_status(sweep.folder, sweep.file.spec(), sweep.results, num_trials(sweep.file.spec()));
}

void best(const RecordedSweep& sweep) {
  const SweepSpec& spec = sweep.file.spec();
  const std::vector<TrialResult> board = sweep.results.leaderboard(spec.metric);
  if (board.empty())
    throw Error(ExitCode::data, "no trial has a result yet", "bertdist sweep status tells what is missing");
  const TrialResult& result = board.front();
  fmt::print("trial {}: eval_{} {}\n", result.trial, spec.metric.name,
             result.metric ? fmt::format("{:.6g}", *result.metric) : "undefined");
  const Json parameters = result.details.value("parameters", Json::object());
  for (const auto& [name, value] : parameters.items()) fmt::print("  {} = {}\n", name, value.dump());
  if (const std::optional<std::int64_t> there = sweep.folder.best_trial(); there == result.trial) {
    fmt::print("its model: {}\n", sweep.folder.best().string());
  } else if (there) {
    fmt::print("its model is not in this folder: {} is trial {}'s\n", sweep.folder.best().string(), *there);
  }
  fmt::print("to train it again:\n  bertdist train --config {}\n",
             (trial_folder(sweep.folder.path(), result.trial) / "config.toml").string());
}

}  // namespace

void report_sweep(const Request& request) {
  const SweepRequest& sweep = *request.sweep;
  switch (sweep.action) {
    case SweepAction::plan:
      return plan(request);
    case SweepAction::status:
      return status(open_sweep(sweep.folder));
    case SweepAction::best:
      return best(open_sweep(sweep.folder));
    case SweepAction::export_results: {
      const RecordedSweep recorded = open_sweep(sweep.folder);
      return write_rows(sweep.output_file, result_rows(recorded.results, recorded.file.spec().metric));
    }
    case SweepAction::run:
    case SweepAction::submit:
      break;
  }
  throw Error(ExitCode::internal, "not an action that reports");
}

}  // namespace bertdist
