#include "sweep/search_space.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <boost/math/special_functions/erf.hpp>
#include <boost/random/sobol.hpp>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/philox.h"
#include "config/toml_text.h"

namespace bertdist {

namespace {

using Distribution = SweepSpec::Distribution;
using Parameter = SweepSpec::Parameter;

constexpr std::uint32_t kRandomUse = 0x7377656d;  // keep the draws apart from other uses of the same seed
constexpr std::uint32_t kShiftUse = 0x7377736f;
constexpr std::int64_t kMostTrials = 1'000'000;

std::uint64_t draw(const std::string& name, std::int64_t seed, std::int64_t index, std::uint32_t use) {
  const std::uint64_t hash = XXH3_64bits(name.data(), name.size());
  const auto key = static_cast<std::uint64_t>(seed) ^ hash;
  const auto counter = static_cast<std::uint64_t>(index);
  const PhiloxCounter bits =
      philox4x32({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32U), use, 0},
                 {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32U)});
  return std::uint64_t{bits[1]} << 32U | bits[0];
}

double unit_interval(std::uint64_t bits) {
  return static_cast<double>(bits >> 11U) * 0x1p-53;
}

std::int64_t first_step(const Parameter& parameter) {
  return std::llround(parameter.min / parameter.q);
}

std::string q_text(const Parameter& parameter, double multiple) {
  // Where q is 1/n, dividing by n gives the number nearest to the decimal: 0.3, not 0.30000000000000004.
  const double per_unit = std::round(1 / parameter.q);
  const double value = parameter.q < 1 && 1 / per_unit == parameter.q ? multiple / per_unit : multiple * parameter.q;
  return parameter.whole_numbers ? toml_text(static_cast<std::int64_t>(std::llround(value))) : toml_text(value);
}

// Values that a grid can list.
std::int64_t num_values(const Parameter& parameter) {
  switch (parameter.distribution) {
    case Distribution::int_uniform:
      return static_cast<std::int64_t>(parameter.max - parameter.min) + 1;
    case Distribution::q_uniform:
      return std::llround(parameter.max / parameter.q) - first_step(parameter) + 1;
    default:
      return std::ssize(parameter.values);
  }
}

std::string listed_value(const Parameter& parameter, std::int64_t index) {
  switch (parameter.distribution) {
    case Distribution::int_uniform:
      return toml_text(static_cast<std::int64_t>(parameter.min) + index);
    case Distribution::q_uniform:
      return q_text(parameter, static_cast<double>(first_step(parameter) + index));
    default:
      return parameter.values[static_cast<std::size_t>(index)];
  }
}

std::vector<Assignment> grid_parameters(const SweepSpec& spec, std::int64_t index) {
  std::vector<Assignment> assignments(spec.parameters.size());
  for (std::size_t i = spec.parameters.size(); i-- > 0;) {
    const Parameter& parameter = spec.parameters[i];
    const std::int64_t count = num_values(parameter);
    assignments[i] = {parameter.name, listed_value(parameter, index % count)};
    index /= count;
  }
  return assignments;
}

std::vector<Assignment> random_parameters(const SweepSpec& spec, std::int64_t index) {
  std::vector<Assignment> assignments;
  for (const Parameter& parameter : spec.parameters) {
    const double u = unit_interval(draw(parameter.name, spec.seed, index, kRandomUse));
    assignments.push_back({parameter.name, value_at(parameter, u)});
  }
  return assignments;
}

std::vector<Assignment> sobol_parameters(const SweepSpec& spec, std::int64_t index) {
  const std::size_t num_dimensions = spec.parameters.size();
  boost::random::sobol_engine<std::uint64_t, 64> sequence(num_dimensions);
  // The engine leaves the first point out, which is 0 in all dimensions; without it the first 2^k points are not even.
  if (index > 0) sequence.seed(static_cast<std::uint64_t>(index - 1));
  std::vector<Assignment> assignments;
  for (const Parameter& parameter : spec.parameters) {
    const std::uint64_t point = index > 0 ? sequence() : 0;
    const std::uint64_t shift = draw(parameter.name, spec.seed, 0, kShiftUse);
    assignments.push_back({parameter.name, value_at(parameter, unit_interval(point ^ shift))});
  }
  return assignments;
}

}  // namespace

std::string value_at(const Parameter& parameter, double u) {
  const double span = parameter.max - parameter.min;
  switch (parameter.distribution) {
    case Distribution::constant:
    case Distribution::categorical:
    case Distribution::int_uniform: {
      const std::int64_t count = num_values(parameter);
      return listed_value(parameter, std::min(static_cast<std::int64_t>(u * static_cast<double>(count)), count - 1));
    }
    case Distribution::uniform:
      return toml_text(parameter.min + u * span);
    case Distribution::q_uniform:
      return q_text(parameter, std::round((parameter.min + u * span) / parameter.q));
    case Distribution::log_uniform_values: {
      const double log_min = std::log(parameter.min);
      const double value = std::exp(log_min + u * (std::log(parameter.max) - log_min));
      return toml_text(std::clamp(value, parameter.min, parameter.max));
    }
    case Distribution::normal: {
      // u may be 0, where the quantile is not finite.
      const double inside = std::max(u, 0x1p-54);
      return toml_text(parameter.mu - parameter.sigma * std::numbers::sqrt2 * boost::math::erfc_inv(2 * inside));
    }
  }
  throw Error(ExitCode::internal, "unknown distribution");
}

std::int64_t num_trials(const SweepSpec& spec) {
  if (spec.method != SweepSpec::Method::grid) return *spec.run_cap;
  double product = 1;
  for (const Parameter& parameter : spec.parameters) product *= static_cast<double>(num_values(parameter));
  const double capped = std::min(product, static_cast<double>(spec.run_cap.value_or(kMostTrials + 1)));
  if (capped > static_cast<double>(kMostTrials)) {
    throw Error(ExitCode::configuration, fmt::format("sweep: the grid has {:.0f} trials", product),
                "remove values, or set run_cap, which takes the first trials");
  }
  return static_cast<std::int64_t>(capped);
}

std::vector<Assignment> trial_parameters(const SweepSpec& spec, std::int64_t index) {
  switch (spec.method) {
    case SweepSpec::Method::grid:
      return grid_parameters(spec, index);
    case SweepSpec::Method::random:
      return random_parameters(spec, index);
    case SweepSpec::Method::sobol:
      return sobol_parameters(spec, index);
  }
  throw Error(ExitCode::internal, "unknown sweep method");
}

}  // namespace bertdist
