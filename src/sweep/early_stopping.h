#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "config/sweep_spec.h"

namespace bertdist {

// The metric of a trial at its evaluations 1, 2, ...; nothing where it is undefined, which is worse than any value.
using Curve = std::vector<std::optional<double>>;
using Curves = std::map<std::int64_t, Curve>;  // by trial

// Whether a is a better value of the sweep's metric than b.
bool is_better(const SweepSpec::Metric& metric, const std::optional<double>& a, const std::optional<double>& b);

// Whether this trial, whose newest evaluation is the last of its curve, is to end now: a function of what has been
// reported so far and not of the order in which it came.
//
// ASHA (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020), in the form that stops trials
// instead of pausing them: at the evaluations grace_period * reduction_factor^k below max_t a trial goes on if it is
// among the best 1/reduction_factor (at least one) of the trials that have come so far; of equal ones the lower number
// comes first.
//
// Median rule (Golovin et al., "Google Vizier", KDD 2017): from grace_period on a trial ends when its best value is
// worse than the median of the running averages, up to the same evaluation, of the other trials that have come so far,
// if they are min_samples_required or more.
bool should_stop(const SweepSpec& spec, const Curves& curves, std::int64_t trial);

}  // namespace bertdist
