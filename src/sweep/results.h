#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "config/sweep_spec.h"
#include "sweep/early_stopping.h"

namespace bertdist {

// How a trial ended.
struct TrialResult {
  enum class State { finished, stopped, failed };  // stopped: by early_terminate; its metric counts

  std::int64_t trial = 0;
  State state = State::finished;
  std::optional<double> metric;    // the sweep's, of the trial's final model on the validation rows
  nlohmann::ordered_json details;  // all else that was recorded: parameters, eval_*, epoch, train_runtime, error, ...
  bool has_value() const { return state != State::failed && metric.has_value(); }
};
std::string_view state_name(TrialResult::State state);

// Appends to a file of its own, <sweep>/trials-<host>-<process>.jsonl, one JSON object a line: writers never share one,
// so any number of jobs may write results of one sweep at the same time. Each line is in the file, whole, when
// a function returns, and a result is on the disk; each throws Error(output).
class ResultWriter {
 public:
  explicit ResultWriter(const std::filesystem::path& sweep_folder);
  ~ResultWriter();
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;

  // Evaluations of a trial are counted from 1.
  void append_evaluation(std::int64_t trial, std::int64_t evaluation, const std::optional<double>& metric);
  void append(const TrialResult& result);

 private:
  void append_line(nlohmann::ordered_json line, bool sync);

  std::filesystem::path path_;
  int fd_ = -1;
};

// By trial, the time of its newest result.
using ResultTimes = std::map<std::int64_t, std::string>;

struct SweepResults {
  std::map<std::int64_t, TrialResult> trials;  // a trial that was run again: what finished counts, then what is newest
  Curves curves;
  std::int64_t num_damaged_lines = 0;  // half-written by a process that was killed

  // By the metric, best first, equal ones by their number; failed trials are not among them.
  std::vector<TrialResult> leaderboard(const SweepSpec::Metric& metric) const;
  ResultTimes failed() const;
  // Without the failures of `forgiven` that nothing newer has taken the place of.
  std::int64_t num_failed(const ResultTimes& forgiven = {}) const;
};

// Reads all trials*.jsonl of a folder, finished or not. Throws Error(data) where one cannot be read.
SweepResults read_results(const std::filesystem::path& sweep_folder);
// One file of such lines, of any number of writers: (trial, metric) of each evaluation that counts, in the order of
// their times. Throws Error(data).
std::vector<std::pair<std::int64_t, std::optional<double>>> read_evaluations(const std::filesystem::path& file);

// One row a result, best first, failed trials last: place, trial, state, metric, parameters and what else was recorded.
std::vector<nlohmann::ordered_json> result_rows(const SweepResults& results, const SweepSpec::Metric& metric);

// Writes result_rows to <sweep>/leaderboard.csv. Where others write it at the same time, what is there in the end holds
// all results.
void write_leaderboard(const std::filesystem::path& sweep_folder, const SweepSpec::Metric& metric);

}  // namespace bertdist
