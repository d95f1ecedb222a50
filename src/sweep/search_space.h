#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/sweep_spec.h"

namespace bertdist {

// How many trials a sweep has: of a grid the product of its parameters' values, at most run_cap; otherwise run_cap.
// Throws Error(configuration) for a grid of more than a million trials without run_cap.
std::int64_t num_trials(const SweepSpec& spec);

// The parameters of a trial, a pure function of (spec, index) and of nothing else.
// - grid: the parameters' values like nested loops, the last parameter's changing fastest;
// - random: each value from a draw keyed by (seed, the parameter's name, index), so that a parameter that is added or
//   removed leaves the others' values as they are;
// - sobol: the points of the Sobol sequence (Joe and Kuo's direction numbers), each dimension shifted by bits keyed by
//   (seed, the parameter's name), which keeps the sequence's even spread.
std::vector<Assignment> trial_parameters(const SweepSpec& spec, std::int64_t index);

// The value whose share of the distribution below it is u, from 0 to below 1. As TOML.
std::string value_at(const SweepSpec::Parameter& parameter, double u);

}  // namespace bertdist
