#include "sweep/early_stopping.h"

#include <algorithm>

namespace bertdist {

namespace {

using EarlyTerminate = SweepSpec::EarlyTerminate;

bool is_rung(const EarlyTerminate& rule, std::int64_t t) {
  std::int64_t rung = rule.grace_period;
  while (rung < t && rung < rule.max_t) rung *= rule.reduction_factor;
  return rung == t && t < rule.max_t;
}

bool asha_stops(const SweepSpec& spec, const Curves& curves, std::int64_t trial) {
  const std::size_t t = curves.at(trial).size();
  if (!is_rung(spec.early_terminate, static_cast<std::int64_t>(t))) return false;
  const std::optional<double> mine = curves.at(trial)[t - 1];
  std::int64_t num_at_rung = 0;
  std::int64_t num_ahead = 0;
  for (const auto& [other, curve] : curves) {
    if (curve.size() < t) continue;
    ++num_at_rung;
    const bool better = is_better(spec.metric, curve[t - 1], mine);
    const bool equal = !better && !is_better(spec.metric, mine, curve[t - 1]);
    if (better || (equal && other < trial)) ++num_ahead;
  }
  return num_ahead >= std::max<std::int64_t>(1, num_at_rung / spec.early_terminate.reduction_factor);
}

std::optional<double> mean_of_first(const Curve& curve, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!curve[i]) return std::nullopt;
    sum += *curve[i];
  }
  return sum / static_cast<double>(count);
}

std::optional<double> best_of(const SweepSpec::Metric& metric, const Curve& curve) {
  return *std::min_element(curve.begin(), curve.end(),
                           [&](const auto& a, const auto& b) { return is_better(metric, a, b); });
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

bool median_stops(const SweepSpec& spec, const Curves& curves, std::int64_t trial) {
  const Curve& mine = curves.at(trial);
  if (static_cast<std::int64_t>(mine.size()) < spec.early_terminate.grace_period) return false;
  std::vector<double> averages;
  for (const auto& [other, curve] : curves) {
    if (other == trial || curve.size() < mine.size()) continue;
    if (const auto average = mean_of_first(curve, mine.size())) averages.push_back(*average);
  }
  if (std::ssize(averages) < spec.early_terminate.min_samples_required) return false;
  return is_better(spec.metric, median(std::move(averages)), best_of(spec.metric, mine));
}

}  // namespace

bool is_better(const SweepSpec::Metric& metric, const std::optional<double>& a, const std::optional<double>& b) {
  if (!a || !b) return a.has_value() && !b.has_value();
  return metric.maximize ? *a > *b : *a < *b;
}

bool should_stop(const SweepSpec& spec, const Curves& curves, std::int64_t trial) {
  switch (spec.early_terminate.type) {
    case EarlyTerminate::Type::none:
      return false;
    case EarlyTerminate::Type::asha:
      return asha_stops(spec, curves, trial);
    case EarlyTerminate::Type::median:
      return median_stops(spec, curves, trial);
  }
  return false;
}

}  // namespace bertdist
