#pragma once

#include <cstdint>

#include "sweep/results.h"
#include "sweep/sweep_folder.h"

namespace bertdist {

// What the user sees of a sweep's results, on standard output.

// One line when a trial has ended.
void print_progress(const SweepSpec& spec, const TrialResult& result, const SweepResults& results,
                    std::int64_t num_trials);

// What is finished, failed and missing, and the commands that run the rest.
void print_status(const SweepFolder& folder, const SweepResults& results, std::int64_t num_trials);

// The first places and the status. Throws Error where all trials failed or more than max_failures did.
void print_summary(const SweepSpec& spec, const SweepFolder& folder, std::int64_t num_trials);

bool too_many_failures(const SweepSpec& spec, const SweepResults& results);

}  // namespace bertdist
