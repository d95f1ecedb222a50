#include "sweep/trials.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "base/error.h"
#include "sweep/search_space.h"

namespace bertdist {

namespace {

[[noreturn]] void fail_indices(std::string_view text) {
  throw Error(ExitCode::configuration, fmt::format("--trials: \"{}\" is not a list of trials", text),
              "write 17, 10-19 or 3,7-9");
}

std::int64_t parse_index(std::string_view text, std::string_view whole) {
  std::int64_t index = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc{} || end != text.data() + text.size() || index < 0) fail_indices(whole);
  return index;
}

}  // namespace

std::string trial_name(std::int64_t index) {
  return fmt::format("trial_{:03}", index);
}

std::filesystem::path trial_folder(const std::filesystem::path& sweep, std::int64_t index) {
  return sweep / trial_name(index);
}

std::vector<Trial> plan_trials(const SweepFile& file) {
  std::vector<Trial> trials;
  std::map<std::string, std::int64_t> seen;  // configuration without its folder
  const std::int64_t count = num_trials(file.spec());
  for (std::int64_t index = 0; index < count; ++index) {
    const std::string name = fmt::format("trial {}", index);
    const std::string folder = (trial_folder(file.output_dir(), index) / "run").string();
    Trial trial{.index = index, .parameters = trial_parameters(file.spec(), index), .config = {}};
    trial.config = file.trial_config(name, trial.parameters, folder);
    Config anywhere = trial.config;
    anywhere.output_dir.clear();
    const auto [earlier, is_new] = seen.emplace(to_toml(anywhere), index);
    if (!is_new) {
      throw Error(ExitCode::configuration, fmt::format("{} is the same as trial {}", name, earlier->second),
                  file.spec().method == SweepSpec::Method::grid
                      ? "a value is listed twice, or a parameter changes nothing"
                      : "there are few different trials: lower run_cap, choose another seed, or use the method grid");
    }
    trials.push_back(std::move(trial));
  }
  return trials;
}

std::vector<std::int64_t> parse_trial_indices(std::string_view text, std::int64_t num_trials) {
  std::set<std::int64_t> indices;
  for (std::string_view rest = text;;) {
    const std::string_view part = rest.substr(0, rest.find(','));
    const std::size_t dash = part.find('-');
    const std::int64_t first = parse_index(part.substr(0, dash), text);
    const std::int64_t last = dash == part.npos ? first : parse_index(part.substr(dash + 1), text);
    if (last < first) fail_indices(text);
    if (last >= num_trials) {
      throw Error(ExitCode::configuration,
                  fmt::format("--trials: there is no trial {}; the sweep has the trials 0 to {}", last, num_trials - 1),
                  "bertdist sweep plan lists them");
    }
    for (std::int64_t index = first; index <= last; ++index) indices.insert(index);
    if (part.size() == rest.size()) break;
    rest.remove_prefix(part.size() + 1);
  }
  return {indices.begin(), indices.end()};
}

std::vector<std::int64_t> trials_of_task(std::int64_t task, std::int64_t trials_per_task, std::int64_t num_trials) {
  std::vector<std::int64_t> indices;
  for (std::int64_t index = task * trials_per_task; index < std::min((task + 1) * trials_per_task, num_trials); ++index)
    indices.push_back(index);
  if (!indices.empty()) return indices;
  throw Error(ExitCode::configuration,
              fmt::format("task {} of the job array has no trial: the sweep has {}, {} a task", task, num_trials,
                          trials_per_task),
              "bertdist sweep submit makes the array of the right size");
}

std::string trial_indices_text(const std::vector<std::int64_t>& indices) {
  std::string text;
  for (std::size_t begin = 0; begin < indices.size();) {
    std::size_t end = begin + 1;
    while (end < indices.size() && indices[end] == indices[end - 1] + 1) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ",", indices[begin]);
    if (end > begin + 1) text += fmt::format("-{}", indices[end - 1]);
    begin = end;
  }
  return text;
}

std::string short_value(const std::string& value) {
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error == std::errc{} && end == value.data() + value.size()) return fmt::format("{:.6g}", number);
  const bool plain = value.size() > 2 && value.front() == '"' && value.find('\\') == value.npos &&
                     value.find_first_of("\",", 1) == value.size() - 1;
  return plain ? value.substr(1, value.size() - 2) : value;
}

}  // namespace bertdist
