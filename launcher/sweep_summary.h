#pragma once

#include <cstdint>
#include <vector>

#include "sweep/results.h"
#include "sweep/sweep_folder.h"

namespace bertdist {

// What the user sees of a sweep's results, on standard output.

// One line when a trial has ended.
void print_progress(const SweepSpec& spec, const TrialResult& result, const SweepResults& results,
                    std::int64_t num_trials);

// What is finished, failed and missing, and the commands that run the rest.
void print_status(const SweepFolder& folder, const SweepSpec& spec, const SweepResults& results,
                  std::int64_t num_trials);

// Which trials a run of the sweep is for, and the failures that were recorded before it and do not count for it.
struct RunScope {
  std::vector<std::int64_t> wanted;
  ResultTimes forgiven;
};

bool too_many_failures(const SweepSpec& spec, const SweepResults& results, const ResultTimes& forgiven);

// The first places and the status. Throws Error where all trials of the run failed or more than max_failures did.
void print_summary(const SweepSpec& spec, const SweepFolder& folder, std::int64_t num_trials, const RunScope& scope);

}  // namespace bertdist
