#include <fmt/format.h>

#include "config/sweep_names.h"
#include "config/toml_text.h"

namespace bertdist {
namespace {

using Distribution = SweepSpec::Distribution;

std::string quoted(std::string_view word) {
  return toml_text(word);
}

std::string bound_text(double value, bool whole) {
  return whole ? toml_text(static_cast<std::int64_t>(value)) : toml_text(value);
}

std::string parameter_text(const SweepSpec::Parameter& parameter) {
  const std::string distribution =
      fmt::format("distribution = {}", quoted(name_of(kDistributionNames, parameter.distribution)));
  switch (parameter.distribution) {
    case Distribution::constant:
      return fmt::format("{{value = {}}}", parameter.values.front());
    case Distribution::categorical:
      return fmt::format("{{values = [{}]}}", fmt::join(parameter.values, ", "));
    case Distribution::normal:
      return fmt::format("{{{}, mu = {}, sigma = {}}}", distribution, toml_text(parameter.mu),
                         toml_text(parameter.sigma));
    default:
      break;
  }
  const bool whole = parameter.whole_numbers || parameter.distribution == Distribution::int_uniform;
  std::string text = fmt::format("{{{}, min = {}, max = {}", distribution, bound_text(parameter.min, whole),
                                 bound_text(parameter.max, whole));
  if (parameter.distribution == Distribution::q_uniform) text += ", q = " + bound_text(parameter.q, whole);
  return text + "}";
}

std::string early_terminate_text(const SweepSpec::EarlyTerminate& stop) {
  using Type = SweepSpec::EarlyTerminate::Type;
  if (stop.type == Type::none) return "";
  const std::string rest = stop.type == Type::asha
                               ? fmt::format("max_t = {}\nreduction_factor = {}\n", stop.max_t, stop.reduction_factor)
                               : fmt::format("min_samples_required = {}\n", stop.min_samples_required);
  return fmt::format("\n[sweep.early_terminate]\ntype = {}\ngrace_period = {}\n{}",
                     quoted(name_of(kEarlyTerminateNames, stop.type)), stop.grace_period, rest);
}

}  // namespace

std::string to_toml(const SweepSpec& spec) {
  std::string text = fmt::format("[sweep]\nmethod = {}\n", quoted(name_of(kMethodNames, spec.method)));
  text += fmt::format("metric = {{name = {}, goal = {}}}\n", quoted("eval_" + spec.metric.name),
                      quoted(name_of(kGoalNames, spec.metric.maximize)));
  if (spec.run_cap) text += fmt::format("run_cap = {}\n", *spec.run_cap);
  text += fmt::format("seed = {}\nranks_per_trial = {}\n", spec.seed, spec.ranks_per_trial);
  if (spec.max_failures) text += fmt::format("max_failures = {}\n", *spec.max_failures);
  text += fmt::format("save_trials = {}\n\n[sweep.parameters]\n", quoted(name_of(kSaveTrialsNames, spec.save_trials)));
  for (const SweepSpec::Parameter& parameter : spec.parameters) {
    text += fmt::format("{} = {}\n", parameter.name, parameter_text(parameter));
  }
  return text + early_terminate_text(spec.early_terminate);
}

}  // namespace bertdist
