#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "sweep/early_stopping.h"

namespace bertdist {

struct SimulatedTrial {
  std::int64_t trial = 0;
  std::int64_t num_evaluations = 0;  // until it was stopped
  std::int64_t num_recorded = 0;
  std::optional<double> best;  // of those until it was stopped
  bool stopped = false;
};

struct Simulation {
  std::vector<SimulatedTrial> trials;  // by their number
  std::int64_t num_stopped = 0;
  std::int64_t num_evaluations = 0;
  std::int64_t num_recorded = 0;
  std::int64_t best_trial = 0;
  std::optional<double> best;
  std::int64_t full_best_trial = 0;  // of the search without early stopping
  std::optional<double> full_best;
};

// What early_terminate makes of recorded evaluations (trial, metric), which arrive in this order, each trial's from its
// first; those of a trial that was stopped are passed over. A function of its arguments. Throws Error(configuration)
// without a rule, Error(data) without evaluations.
Simulation simulate_early_stopping(const SweepSpec& spec,
                                   const std::vector<std::pair<std::int64_t, std::optional<double>>>& evaluations);

}  // namespace bertdist
