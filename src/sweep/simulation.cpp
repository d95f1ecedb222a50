#include "sweep/simulation.h"

#include <map>

#include "base/error.h"

namespace bertdist {

Simulation simulate_early_stopping(const SweepSpec& spec,
                                   const std::vector<std::pair<std::int64_t, std::optional<double>>>& evaluations) {
  if (spec.early_terminate.type == SweepSpec::EarlyTerminate::Type::none) {
    throw Error(ExitCode::configuration, "there is no [sweep.early_terminate] to simulate",
                "add it to the file: docs/sweeps.md describes asha and median");
  }
  if (evaluations.empty()) {
    throw Error(ExitCode::data, "no evaluations are recorded there",
                "the trials*.jsonl of a sweep that was run have them");
  }
  const auto take_better = [&](std::optional<double>& best, const std::optional<double>& value) {
    if (is_better(spec.metric, value, best)) best = value;
  };
  Simulation simulation;
  std::map<std::int64_t, SimulatedTrial> trials;
  std::map<std::int64_t, std::optional<double>> full;
  Curves curves;
  for (const auto& [index, metric] : evaluations) {
    SimulatedTrial& trial = trials[index];
    trial.trial = index;
    ++trial.num_recorded;
    take_better(full[index], metric);
    if (trial.stopped) continue;
    curves[index].push_back(metric);
    ++trial.num_evaluations;
    take_better(trial.best, metric);
    trial.stopped = should_stop(spec, curves, index);
  }
  simulation.best_trial = simulation.full_best_trial = trials.begin()->first;
  for (auto& [index, trial] : trials) {
    // The rule spoke at the last evaluation, when there was nothing left to stop.
    if (trial.num_evaluations == trial.num_recorded) trial.stopped = false;
    simulation.num_stopped += trial.stopped ? 1 : 0;
    simulation.num_evaluations += trial.num_evaluations;
    simulation.num_recorded += trial.num_recorded;
    if (is_better(spec.metric, trial.best, simulation.best)) simulation.best_trial = index;
    take_better(simulation.best, trial.best);
    if (is_better(spec.metric, full[index], simulation.full_best)) simulation.full_best_trial = index;
    take_better(simulation.full_best, full[index]);
    simulation.trials.push_back(trial);
  }
  return simulation;
}

}  // namespace bertdist
