#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "config/sweep_file.h"
#include "sweep/results.h"

namespace bertdist {

// The folder of a sweep: sweep.toml, trials*.jsonl, leaderboard.csv, best/ and the trials' own folders.
class SweepFolder {
 public:
  explicit SweepFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path sweep_toml() const { return path_ / "sweep.toml"; }
  std::filesystem::path best() const { return path_ / "best"; }
  // Whose model best/ is; nothing where there is none. Results of other machines are not offered to it.
  std::optional<std::int64_t> best_trial() const;

  // Makes the folder this sweep's, or finds that it is. Any number of jobs may do so at the same time. Throws
  // Error(output) where it holds another sweep or something else.
  void claim(const SweepFile& file) const;

  // Puts what `write` writes into an empty folder in the place of best/, if the result is better than the one there, of
  // equal ones if its number is lower. Waits for others who are doing the same.
  void offer_best(const SweepSpec::Metric& metric, const TrialResult& result,
                  const std::function<void(const std::filesystem::path&)>& write) const;

 private:
  std::filesystem::path path_;
};

// Of these trials the ones that are still to be run: without a result or, where the user named them, failed.
std::vector<std::int64_t> missing_trials(const SweepResults& results, const std::vector<std::int64_t>& wanted,
                                         bool failed_ones_too);

}  // namespace bertdist
