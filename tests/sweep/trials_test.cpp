// Which trials a sweep has: their number, their order, and that nothing but the file and the index decides them.

#include "sweep/trials.h"

#include <gmock/gmock.h>

#include "config/config_files.h"
#include "sweep/search_space.h"

namespace bertdist {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TrialsTest : public ConfigTest {
 protected:
  SweepFile sweep(const std::string& text) const {
    const std::string common = "model_name_or_path = 'm'\ntrain_file = 't'\nvalidation_split = 0.1\noutput_dir = 'o'\n";
    return SweepFile({"--config", write(common + "[sweep]\n" + text)});
  }
};

TEST_F(TrialsTest, GridGoesThroughAllValuesTheLastParameterFastest) {
  const auto trials = plan_trials(sweep(
      "method = 'grid'\nparameters.weight_decay.values = [0.5, 0.25]\n"
      "parameters.seed = {min = 3, max = 5}\nparameters.warmup_ratio = {min = 0, max = 0.3, q = 0.1, distribution = "
      "'q_uniform'}\n"));
  ASSERT_EQ(trials.size(), 2u * 3 * 4);
  std::size_t index = 0;
  for (const double weight_decay : {0.5, 0.25}) {
    for (const std::int64_t seed : {3, 4, 5}) {
      for (const double warmup_ratio : {0.0, 0.1, 0.2, 0.3}) {
        const Config& config = trials[index].config;
        EXPECT_EQ(config.weight_decay, weight_decay) << index;
        EXPECT_EQ(config.seed, seed) << index;
        EXPECT_EQ(config.warmup_ratio, warmup_ratio) << index;
        EXPECT_EQ(trials[index].index, static_cast<std::int64_t>(index));
        ++index;
      }
    }
  }
  EXPECT_EQ(trials[7].config.output_dir, "o/trial_007/run");
}

TEST_F(TrialsTest, RunCapTakesAGridsFirstTrials) {
  const auto trials = plan_trials(sweep("method = 'grid'\nrun_cap = 3\nparameters.seed.values = [9, 8, 7, 6]\n"));
  ASSERT_EQ(trials.size(), 3u);
  EXPECT_EQ(trials[2].config.seed, 7);
}

TEST_F(TrialsTest, ATrialDoesNotDependOnHowManyThereAre) {
  for (const std::string method : {"random", "sobol"}) {
    const std::string rest = "\nparameters.learning_rate = {min = 0.1, max = 0.9}\n";
    const auto few = plan_trials(sweep("method = '" + method + "'\nrun_cap = 3" + rest));
    const auto many = plan_trials(sweep("method = '" + method + "'\nrun_cap = 30" + rest));
    for (std::size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i].config, many[i].config) << method << i;
  }
}

TEST_F(TrialsTest, AParameterMoreLeavesTheOthersOfARandomSearchAsTheyAre) {
  const std::string one = "method = 'random'\nrun_cap = 5\nparameters.learning_rate = {min = 0.1, max = 0.9}\n";
  const auto before = plan_trials(sweep(one));
  const auto after = plan_trials(sweep(one + "parameters.weight_decay = {min = 0.1, max = 0.9}\n"));
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].config.learning_rate, after[i].config.learning_rate);
    EXPECT_NE(after[i].config.learning_rate, after[i].config.weight_decay);
  }
}

TEST_F(TrialsTest, SeedChangesTheDraw) {
  for (const std::string method : {"random", "sobol"}) {
    const std::string text =
        "method = '" + method + "'\nrun_cap = 2\nparameters.learning_rate = {min = 0.1, max = 0.9}\n";
    EXPECT_NE(plan_trials(sweep(text))[0].config.learning_rate,
              plan_trials(sweep(text + "seed = 1\n"))[0].config.learning_rate);
  }
}

TEST_F(TrialsTest, DuplicatesAreNamed) {
  const Error grid = error_of([&] { plan_trials(sweep("method = 'grid'\nparameters.seed.values = [1, 2, 1]\n")); });
  EXPECT_STREQ(grid.what(), "trial 2 is the same as trial 0");
  const Error random =
      error_of([&] { plan_trials(sweep("method = 'random'\nrun_cap = 9\nparameters.seed.values = [1, 2, 3]\n")); });
  EXPECT_THAT(random.what(), HasSubstr("is the same as trial"));
  EXPECT_THAT(random.hint(), HasSubstr("grid"));
}

TEST_F(TrialsTest, AGridWithoutEndIsAnError) {
  const Error error = error_of([&] {
    plan_trials(
        sweep("method = 'grid'\nparameters.seed = {min = 0, max = 999999}\nparameters.max_steps.values = [1, 2]"));
  });
  EXPECT_THAT(error.what(), HasSubstr("the grid has 2000000 trials"));
}

TEST_F(TrialsTest, EndsOfADistribution) {
  const SweepSpec::Parameter logarithmic{
      .name = "x", .distribution = SweepSpec::Distribution::log_uniform_values, .values = {}, .min = 1e-5, .max = 1e-3};
  EXPECT_EQ(value_at(logarithmic, 0), "1e-5");
  EXPECT_NEAR(std::stod(value_at(logarithmic, 0.5)), 1e-4, 1e-16);
  SweepSpec::Parameter normal{.name = "x", .distribution = SweepSpec::Distribution::normal, .values = {}};
  EXPECT_EQ(value_at(normal, 0.5), "0.0");
  EXPECT_LT(std::stod(value_at(normal, 0)), -8);
  SweepSpec::Parameter integers{
      .name = "x", .distribution = SweepSpec::Distribution::int_uniform, .values = {}, .min = -1, .max = 1};
  EXPECT_EQ(value_at(integers, 0), "-1");
  EXPECT_EQ(value_at(integers, 1 - 0x1p-53), "1");
}

TEST(TrialIndices, ListsAndRanges) {
  EXPECT_THAT(parse_trial_indices("17", 18), ElementsAre(17));
  EXPECT_THAT(parse_trial_indices("7-9,3,8", 10), ElementsAre(3, 7, 8, 9));
  EXPECT_EQ(trial_indices_text({3, 7, 8, 9, 11}), "3,7-9,11");
  EXPECT_EQ(trial_indices_text({}), "");
  for (const char* wrong : {"", "a", "3-", "-3", "5-4", "1,,2", "1;2"}) {
    EXPECT_THAT(error_of([&] { parse_trial_indices(wrong, 10); }).what(), HasSubstr("is not a list of trials"));
  }
  EXPECT_THAT(error_of([] { parse_trial_indices("10", 10); }).what(), HasSubstr("there is no trial 10"));
}

TEST(ShortValues, AreForReading) {
  EXPECT_EQ(short_value("0.00012345678"), "0.000123457");
  EXPECT_EQ(short_value("8"), "8");
  EXPECT_EQ(short_value("\"base\""), "base");
  EXPECT_EQ(short_value("[\"a\", \"b\"]"), "[\"a\", \"b\"]");
}

}  // namespace
}  // namespace bertdist
