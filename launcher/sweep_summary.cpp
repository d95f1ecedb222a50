#include "sweep_summary.h"

#include <fmt/format.h>

#include <numeric>

#include "base/error.h"
#include "report/table.h"
#include "sweep/trials.h"

namespace bertdist {

namespace {

constexpr std::size_t kPlacesShown = 10;

std::string metric_text(const std::optional<double>& metric) {
  return metric ? fmt::format("{:.4f}", *metric) : "undefined";
}

std::string cell_text(const nlohmann::ordered_json& value) {
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void print_places(const SweepSpec& spec, const std::vector<TrialResult>& board) {
  std::vector<Column> columns{
      {"place", Align::right}, {"trial", Align::right}, {"eval_" + spec.metric.name, Align::right}};
  for (const SweepSpec::Parameter& parameter : spec.parameters) columns.push_back({parameter.name, Align::right});
  TablePrinter table(columns);
  for (std::size_t place = 0; place < std::min(board.size(), kPlacesShown); ++place) {
    const TrialResult& result = board[place];
    std::vector<std::string> cells{std::to_string(place + 1), std::to_string(result.trial), metric_text(result.metric)};
    const auto parameters = result.details.value("parameters", nlohmann::ordered_json::object());
    for (const SweepSpec::Parameter& parameter : spec.parameters) {
      cells.push_back(parameters.contains(parameter.name) ? cell_text(parameters[parameter.name]) : "");
    }
    table.add_row(std::move(cells));
  }
  fmt::print("\n{}", table.to_string());
  if (board.size() > kPlacesShown) fmt::print("{} more are in leaderboard.csv\n", board.size() - kPlacesShown);
}

}  // namespace

bool too_many_failures(const SweepSpec& spec, const SweepResults& results, const ResultTimes& forgiven) {
  return spec.max_failures && results.num_failed(forgiven) > *spec.max_failures;
}

void print_progress(const SweepSpec& spec, const TrialResult& result, const SweepResults& results,
                    std::int64_t num_trials) {
  const std::string name = "eval_" + spec.metric.name;
  const std::string outcome = result.state == TrialResult::State::failed
                                  ? result.details.value("error", std::string())
                                  : fmt::format("{} {}", name, metric_text(result.metric));
  const auto board = results.leaderboard(spec.metric);
  const std::string best =
      board.empty() ? "" : fmt::format("; best: trial {} with {}", board[0].trial, metric_text(board[0].metric));
  fmt::print("trial {} {}: {}; {} of {} done{}\n", result.trial, state_name(result.state), outcome,
             results.trials.size(), num_trials, best);
  std::fflush(stdout);
}

void print_status(const SweepFolder& folder, const SweepSpec& spec, const SweepResults& results,
                  std::int64_t num_trials) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(num_trials));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  const std::vector<std::int64_t> missing = missing_trials(results, all, /*failed_ones_too=*/false);
  std::vector<std::int64_t> failed;
  std::int64_t num_stopped = 0;
  for (const auto& [index, result] : results.trials) {
    if (result.state == TrialResult::State::failed) failed.push_back(index);
    if (result.state == TrialResult::State::stopped) ++num_stopped;
  }
  fmt::print("{} trials: {} finished, {} stopped early, {} failed, {} missing\n", num_trials,
             std::ssize(results.trials) - std::ssize(failed) - num_stopped, num_stopped, failed.size(), missing.size());
  if (results.num_damaged_lines > 0) {
    fmt::print("{} lines were not written to their end and do not count\n", results.num_damaged_lines);
  }
  for (const std::int64_t index : failed) {
    fmt::print("trial {} failed: {}\n", index, results.trials.at(index).details.value("error", std::string()));
  }
  const std::string command = fmt::format("bertdist sweep run --config {}", folder.sweep_toml().string());
  const auto naming = [&](const std::vector<std::int64_t>& trials) {
    return fmt::format("{} --trials {}", command, trial_indices_text(trials));
  };
  // A sweep that max_failures has ended goes on with trials that are named.
  if (!missing.empty()) {
    fmt::print("missing: {}\n  {}\n", trial_indices_text(missing),
               too_many_failures(spec, results, {}) ? naming(missing) : command);
  }
  if (!failed.empty()) fmt::print("to try the failed ones again:\n  {}\n", naming(failed));
}

namespace {

// What the trials that the run was for failed of, if all of them have.
void require_a_result(const SweepResults& results, const std::vector<std::int64_t>& wanted) {
  for (const std::int64_t index : wanted) {
    const auto result = results.trials.find(index);
    if (result == results.trials.end() || result->second.state != TrialResult::State::failed) return;
  }
  const TrialResult& first = results.trials.at(wanted.front());
  throw Error(static_cast<ExitCode>(first.details.value("exit_code", 1)),
              fmt::format("{} of {} trials failed; trial {}: {}", wanted.size(), wanted.size(), first.trial,
                          first.details.value("error", std::string())),
              wanted.size() > 1 ? "no trial has a result; what they have in common is to be looked at first"
                                : "bertdist sweep status prints the command that tries it again");
}

void require_few_failures(const SweepSpec& spec, const SweepResults& results, const ResultTimes& forgiven) {
  if (!too_many_failures(spec, results, forgiven)) return;
  const TrialResult& first = results.trials.at(results.failed().begin()->first);
  throw Error(static_cast<ExitCode>(first.details.value("exit_code", 1)),
              fmt::format("{} of {} trials failed; trial {}: {}", results.num_failed(), results.trials.size(),
                          first.trial, first.details.value("error", std::string())),
              "max_failures, in the [sweep] table, says how many may fail; bertdist sweep status prints the commands "
              "that go on all the same");
}

}  // namespace

void print_summary(const SweepSpec& spec, const SweepFolder& folder, std::int64_t num_trials, const RunScope& scope) {
  write_leaderboard(folder.path(), spec.metric);
  const SweepResults results = read_results(folder.path());
  const std::vector<TrialResult> board = results.leaderboard(spec.metric);
  if (!board.empty()) print_places(spec, board);
  fmt::print("\n");
  print_status(folder, spec, results, num_trials);
  if (!board.empty() && folder.best_trial() == board.front().trial) {
    fmt::print("the best model is in {}\n", folder.best().string());
  }
  std::fflush(stdout);
  require_a_result(results, scope.wanted);
  require_few_failures(spec, results, scope.forgiven);
}

}  // namespace bertdist
