#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bertdist {

// A [sweep] table, in the words of W&B's sweep configuration (docs.wandb.ai, "Sweep configuration options") and, for
// ASHA, of Ray Tune's ASHAScheduler.
struct SweepSpec {
  enum class Method { grid, random, sobol };
  enum class Distribution { constant, categorical, int_uniform, uniform, q_uniform, log_uniform_values, normal };
  enum class SaveTrials { best, all, none };

  struct Parameter {
    std::string name;  // an option's
    Distribution distribution = Distribution::constant;
    std::vector<std::string> values;  // as TOML; one of them for a constant
    double min = 0;
    double max = 0;
    double q = 1;
    double mu = 0;
    double sigma = 1;
    bool whole_numbers = false;  // q_uniform: min, max and q were written as integers, so the values are
    bool operator==(const Parameter&) const = default;
  };

  struct Metric {
    std::string name = "loss";  // of the validation set, without "eval_"
    bool maximize = false;
    bool operator==(const Metric&) const = default;
  };

  // Time is counted in a trial's evaluations, the first being 1.
  struct EarlyTerminate {
    enum class Type { none, asha, median };
    Type type = Type::none;
    std::int64_t grace_period = 1;          // no trial is stopped before this evaluation
    std::int64_t max_t = 0;                 // ASHA: a trial is not judged from this evaluation on
    std::int64_t reduction_factor = 4;      // ASHA: one trial of so many goes on from a rung
    std::int64_t min_samples_required = 3;  // median: other trials to compare with
    bool operator==(const EarlyTerminate&) const = default;
  };

  Method method = Method::grid;
  Metric metric;
  std::vector<Parameter> parameters;  // in the file's order
  std::optional<std::int64_t> run_cap;
  std::int64_t seed = 0;
  std::int64_t ranks_per_trial = 1;
  std::optional<std::int64_t> max_failures;
  SaveTrials save_trials = SaveTrials::best;
  EarlyTerminate early_terminate;

  bool operator==(const SweepSpec&) const = default;
};

// A parameter's value in one trial.
struct Assignment {
  std::string name;
  std::string value;  // as TOML
  bool operator==(const Assignment&) const = default;
};

// The [sweep] table as TOML that reads back to the same.
std::string to_toml(const SweepSpec& spec);

}  // namespace bertdist
