// The rules of early stopping by hand-made curves: what they say, that the order of arrival decides nothing that the
// set of reports does not, and that undefined values are the worst.

#include "sweep/early_stopping.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/error.h"
#include "sweep/simulation.h"

namespace bertdist {
namespace {

using EarlyTerminate = SweepSpec::EarlyTerminate;
using Evaluations = std::vector<std::pair<std::int64_t, std::optional<double>>>;

SweepSpec asha(std::int64_t max_t, std::int64_t grace_period, std::int64_t reduction_factor) {
  SweepSpec spec;
  spec.metric = {.name = "accuracy", .maximize = true};
  spec.early_terminate.type = EarlyTerminate::Type::asha;
  spec.early_terminate.max_t = max_t;
  spec.early_terminate.grace_period = grace_period;
  spec.early_terminate.reduction_factor = reduction_factor;
  return spec;
}

SweepSpec median_rule(std::int64_t grace_period, std::int64_t min_samples_required) {
  SweepSpec spec;
  spec.early_terminate.type = EarlyTerminate::Type::median;
  spec.early_terminate.grace_period = grace_period;
  spec.early_terminate.min_samples_required = min_samples_required;
  return spec;
}

TEST(Asha, JudgesAtItsRungsOnly) {
  const SweepSpec spec = asha(/*max_t=*/20, /*grace_period=*/2, /*reduction_factor=*/3);
  Curves curves{{0, Curve(20, 0.9)}};
  for (std::size_t t = 1; t <= 20; ++t) {
    curves[1] = Curve(t, 0.1);
    EXPECT_EQ(should_stop(spec, curves, 1), t == 2 || t == 6 || t == 18) << t;
  }
}

TEST(Asha, NoRungAtOrAfterMaxT) {
  const Curves curves{{0, Curve(6, 0.9)}, {1, Curve(6, 0.1)}};
  EXPECT_FALSE(should_stop(asha(6, 2, 3), curves, 1));
  EXPECT_TRUE(should_stop(asha(7, 2, 3), curves, 1));
}

TEST(Asha, TheBestShareOfARungGoesOn) {
  const SweepSpec spec = asha(9, 1, 3);
  Curves curves;
  for (std::int64_t trial = 0; trial < 9; ++trial) curves[trial] = {0.1 * static_cast<double>(trial)};
  for (std::int64_t trial = 0; trial < 9; ++trial) EXPECT_EQ(should_stop(spec, curves, trial), trial < 6) << trial;
}

TEST(Asha, TheFirstOfARungAndTheLowerOfEqualsGoOn) {
  const SweepSpec spec = asha(9, 1, 3);
  EXPECT_FALSE(should_stop(spec, {{4, {0.1}}}, 4));
  const Curves equal{{4, {0.1}}, {7, {0.1}}};
  EXPECT_FALSE(should_stop(spec, equal, 4));
  EXPECT_TRUE(should_stop(spec, equal, 7));
}

TEST(Asha, UndefinedIsTheWorst) {
  const SweepSpec spec = asha(9, 1, 2);
  const Curves curves{{0, {std::nullopt}}, {1, {0.0}}, {2, {std::nullopt}}, {3, {0.0}}};
  EXPECT_TRUE(should_stop(spec, curves, 0));
  EXPECT_FALSE(should_stop(spec, curves, 1));
}

TEST(Asha, TheBestTrialSurvivesEveryOrderOfArrival) {
  const SweepSpec spec = asha(27, 1, 3);
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    // Interleaved in any way; trial 13 is the best at each evaluation.
    std::vector<std::int64_t> order;
    for (std::int64_t trial = 0; trial < 27; ++trial) order.insert(order.end(), 27, trial);
    std::shuffle(order.begin(), order.end(), random);
    Evaluations evaluations;
    for (const std::int64_t trial : order) {
      evaluations.emplace_back(trial, trial == 13 ? 1.0 : 0.01 * static_cast<double>(trial));
    }
    const Simulation simulation = simulate_early_stopping(spec, evaluations);
    EXPECT_EQ(simulation.best_trial, 13);
    EXPECT_FALSE(simulation.trials[13].stopped);
    EXPECT_EQ(simulation.trials[13].num_evaluations, 27);
    EXPECT_LT(simulation.num_evaluations, simulation.num_recorded / 2);
  }
}

TEST(Asha, AllAtOnceItIsSuccessiveHalving) {
  // Where all trials reach a rung before any is judged there, exactly one in three goes on each time.
  const SweepSpec spec = asha(27, 1, 3);
  Curves curves;
  for (std::int64_t trial = 0; trial < 27; ++trial) curves[trial] = {static_cast<double>(trial)};
  for (const std::size_t expected : {9u, 3u, 1u}) {
    std::vector<std::int64_t> going_on;
    for (const auto& [trial, curve] : curves) {
      if (!should_stop(spec, curves, trial)) going_on.push_back(trial);
    }
    EXPECT_EQ(going_on.size(), expected);
    Curves next;
    for (const std::int64_t trial : going_on) next[trial] = Curve(curves[trial].size() * 3, static_cast<double>(trial));
    curves = next;
  }
}

TEST(MedianRule, ComparesTheBestWithTheMedianOfTheOthersAverages) {
  // minimize. Averages of the others up to evaluation 2: 1.5, 2.5, 3.5; their median is 2.5.
  Curves curves{{0, {1.0, 2.0, 9.0}}, {1, {2.0, 3.0}}, {2, {3.0, 4.0}}};
  const SweepSpec spec = median_rule(/*grace_period=*/2, /*min_samples_required=*/3);
  curves[3] = {2.6, 2.7};
  EXPECT_TRUE(should_stop(spec, curves, 3));
  curves[3] = {2.4, 9.0};
  EXPECT_FALSE(should_stop(spec, curves, 3)) << "its best counts, not its last";
  curves[3] = {9.0};
  EXPECT_FALSE(should_stop(spec, curves, 3)) << "before the grace period";
  curves[3] = {9.0, 9.0, 9.0};
  EXPECT_FALSE(should_stop(spec, curves, 3)) << "only one other has come so far";
  curves[3] = {std::nullopt, std::nullopt};
  EXPECT_TRUE(should_stop(spec, curves, 3));
}

TEST(Simulation, PassesOverWhatAStoppedTrialWouldHaveReported) {
  const Evaluations evaluations{{0, 0.5}, {1, 0.4}, {0, 0.6}, {1, 0.9}, {0, 0.7}, {1, 0.95}};
  const Simulation simulation = simulate_early_stopping(asha(3, 1, 2), evaluations);
  EXPECT_EQ(simulation.num_stopped, 1);
  EXPECT_TRUE(simulation.trials[1].stopped);
  EXPECT_EQ(simulation.num_evaluations, 4);
  EXPECT_EQ(simulation.best_trial, 0);
  EXPECT_EQ(simulation.best, 0.7);
  EXPECT_EQ(simulation.full_best_trial, 1);
  EXPECT_EQ(simulation.full_best, 0.95);
}

TEST(Simulation, NeedsARuleAndCurves) {
  EXPECT_THROW(simulate_early_stopping(SweepSpec(), {{0, 1.0}}), Error);
  EXPECT_THROW(simulate_early_stopping(asha(3, 1, 2), {}), Error);
}

}  // namespace
}  // namespace bertdist
