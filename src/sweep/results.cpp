#include "sweep/results.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "sweep/trial_table.h"

namespace bertdist {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using State = TrialResult::State;

constexpr std::array<std::pair<std::string_view, State>, 3> kStateNames{
    {{"finished", State::finished}, {"stopped", State::stopped}, {"failed", State::failed}}};
constexpr std::string_view kEvaluation = "evaluation";

[[noreturn]] void fail_write(const fs::path& path) {
  const int error = errno;
  throw Error(ExitCode::output, fmt::format("cannot write '{}': {}", path.string(), std::strerror(error)),
              "check that there is space and that you may write there");
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::string utc_now() {
  const auto now = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     now.time_since_epoch().count() % 1'000'000);
}

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> metric_of(const Json& line) {
  const auto metric = line.find("metric");
  return metric == line.end() || !metric->is_number() ? std::nullopt : std::optional(metric->get<double>());
}

std::vector<fs::path> result_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("trials") && name.ends_with(".jsonl")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Calls `use` with each whole line of the file and returns how many were damaged: a process may have been killed while
// it wrote, and another may be writing now.
template <typename Use>
std::int64_t for_each_line(const fs::path& file, Use use) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw Error(ExitCode::data, fmt::format("cannot read '{}'", file.string()), "is the path right, may you read it?");
  }
  std::int64_t num_damaged = 0;
  for (std::string text; std::getline(stream, text);) {
    if (text.empty()) continue;
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    const bool whole = line.is_object() && line.contains("trial") && line["trial"].is_number_integer() &&
                       line.contains("event") && line["event"].is_string();
    if (whole) {
      use(line);
    } else {
      ++num_damaged;
    }
  }
  return num_damaged;
}

struct RecordedEvaluation {
  std::string time;
  std::int64_t trial;
  std::int64_t evaluation;  // counted from 1
  std::optional<double> metric;
};

void add_evaluation(std::vector<RecordedEvaluation>& evaluations, const Json& line) {
  const std::int64_t evaluation = line.value("evaluation", std::int64_t{0});
  if (evaluation < 1) return;
  evaluations.push_back({line.value("time", std::string()), line["trial"], evaluation, metric_of(line)});
}

// In the order in which they came, whichever files they are from. A trial that was interrupted begins again, or goes
// on from a checkpoint: what it had reported from there on does not count.
std::vector<RecordedEvaluation> in_order(std::vector<RecordedEvaluation> evaluations) {
  std::stable_sort(evaluations.begin(), evaluations.end(),
                   [](const auto& a, const auto& b) { return a.time < b.time; });
  std::map<std::int64_t, std::int64_t> first_repeated;  // by trial, seen from the end
  std::vector<RecordedEvaluation> counting;
  for (auto it = evaluations.rbegin(); it != evaluations.rend(); ++it) {
    const auto [first, is_new] = first_repeated.try_emplace(it->trial, it->evaluation);
    if (!is_new && it->evaluation >= first->second) continue;
    first->second = it->evaluation;
    counting.push_back(std::move(*it));
  }
  std::reverse(counting.begin(), counting.end());
  return counting;
}

Curves curves_of(std::vector<RecordedEvaluation> evaluations) {
  Curves curves;
  for (const RecordedEvaluation& recorded : in_order(std::move(evaluations))) {
    Curve& curve = curves[recorded.trial];
    curve.resize(static_cast<std::size_t>(recorded.evaluation - 1));
    curve.push_back(recorded.metric);
  }
  return curves;
}

std::string time_of(const TrialResult& result) {
  return result.details.value("time", std::string());
}

void add_result(std::map<std::int64_t, TrialResult>& trials, const Json& line) {
  const auto state = std::find_if(kStateNames.begin(), kStateNames.end(),
                                  [&](const auto& s) { return line["event"] == std::string(s.first); });
  if (state == kStateNames.end()) return;
  TrialResult result{.trial = line["trial"], .state = state->second, .metric = metric_of(line), .details = line};
  const auto earlier = trials.find(result.trial);
  const auto rank = [](const TrialResult& r) { return std::pair(r.state != State::failed, time_of(r)); };
  if (earlier == trials.end() || rank(earlier->second) < rank(result)) trials[result.trial] = std::move(result);
}

Json row_of(const Json& place, const TrialResult& result) {
  Json row = {{"place", place}, {"trial", result.trial}, {"state", std::string(state_name(result.state))}};
  row["metric"] = or_null(result.metric);
  row.update(result.details.value("parameters", Json::object()));
  for (const auto& [key, value] : result.details.items()) {
    if (!row.contains(key) && key != "parameters" && key != "event" && !value.is_structured()) row[key] = value;
  }
  return row;
}

}  // namespace

std::string_view state_name(State state) {
  return std::find_if(kStateNames.begin(), kStateNames.end(), [&](const auto& s) { return s.second == state; })->first;
}

ResultWriter::ResultWriter(const fs::path& sweep_folder) {
  make_directories(sweep_folder);
  // The number of a process that ended is used again some day, but not its file.
  for (int attempt = 0; fd_ < 0; ++attempt) {
    path_ = sweep_folder / fmt::format("trials-{}-{}{}.jsonl", host_name(), ::getpid(),
                                       attempt == 0 ? "" : fmt::format("-{}", attempt));
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) fail_write(path_);
  }
}

ResultWriter::~ResultWriter() {
  ::close(fd_);
}

void ResultWriter::append_line(Json line, bool sync) {
  line["time"] = utc_now();
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno != EINTR) fail_write(path_);
    if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (sync && ::fsync(fd_) != 0) fail_write(path_);
}

void ResultWriter::append_evaluation(std::int64_t trial, std::int64_t evaluation, const std::optional<double>& metric) {
  append_line(
      {{"trial", trial}, {"event", std::string(kEvaluation)}, {"evaluation", evaluation}, {"metric", or_null(metric)}},
      /*sync=*/false);
}

void ResultWriter::append(const TrialResult& result) {
  Json line = {
      {"trial", result.trial}, {"event", std::string(state_name(result.state))}, {"metric", or_null(result.metric)}};
  line.update(result.details);
  append_line(std::move(line), /*sync=*/true);
}

std::vector<TrialResult> SweepResults::leaderboard(const SweepSpec::Metric& metric) const {
  std::vector<TrialResult> board;
  for (const auto& [index, result] : trials) {
    if (result.state != State::failed) board.push_back(result);
  }
  std::stable_sort(board.begin(), board.end(),
                   [&](const auto& a, const auto& b) { return is_better(metric, a.metric, b.metric); });
  return board;
}

ResultTimes SweepResults::failed() const {
  ResultTimes times;
  for (const auto& [index, result] : trials) {
    if (result.state == State::failed) times[index] = time_of(result);
  }
  return times;
}

std::int64_t SweepResults::num_failed(const ResultTimes& forgiven) const {
  const ResultTimes times = failed();
  return std::count_if(times.begin(), times.end(), [&](const auto& failure) {
    const auto earlier = forgiven.find(failure.first);
    return earlier == forgiven.end() || earlier->second != failure.second;
  });
}

SweepResults read_results(const fs::path& sweep_folder) {
  SweepResults results;
  std::vector<RecordedEvaluation> evaluations;
  for (const fs::path& file : result_files(sweep_folder)) {
    results.num_damaged_lines += for_each_line(file, [&](const Json& line) {
      if (line["event"] == std::string(kEvaluation)) {
        add_evaluation(evaluations, line);
      } else {
        add_result(results.trials, line);
      }
    });
  }
  results.curves = curves_of(std::move(evaluations));
  return results;
}

std::vector<std::pair<std::int64_t, std::optional<double>>> read_evaluations(const fs::path& file) {
  std::vector<RecordedEvaluation> recorded;
  for_each_line(file, [&](const Json& line) {
    if (line["event"] == std::string(kEvaluation)) add_evaluation(recorded, line);
  });
  std::vector<std::pair<std::int64_t, std::optional<double>>> evaluations;
  for (const RecordedEvaluation& evaluation : in_order(std::move(recorded))) {
    evaluations.emplace_back(evaluation.trial, evaluation.metric);
  }
  return evaluations;
}

std::vector<Json> result_rows(const SweepResults& results, const SweepSpec::Metric& metric) {
  std::vector<Json> rows;
  for (const TrialResult& result : results.leaderboard(metric)) rows.push_back(row_of(std::ssize(rows) + 1, result));
  for (const auto& [index, result] : results.trials) {
    if (result.state == State::failed) rows.push_back(row_of(nullptr, result));
  }
  return rows;
}

void write_leaderboard(const fs::path& sweep_folder, const SweepSpec::Metric& metric) {
  std::string written;
  for (;;) {
    const std::vector<Json> rows = result_rows(read_results(sweep_folder), metric);
    const std::string text = csv_text(rows);
    // Whoever writes last has read, before or after, what the others recorded before they wrote.
    if (text == written) return;
    write_file_atomically(sweep_folder / "leaderboard.csv", text);
    written = text;
  }
}

}  // namespace bertdist
