// What a [sweep] table may say, what is told where it is wrong, and that a sweep can be written down again.

#include "config/sweep_file.h"

#include <gmock/gmock.h>

#include "config/config_files.h"

namespace bertdist {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kCommon =
    "model_name_or_path = 'm'\ntrain_file = 't.csv'\nvalidation_split = 0.1\noutput_dir = 'o'\n";

class SweepFileTest : public ConfigTest {
 protected:
  SweepFile sweep(const std::string& text, std::vector<std::string> arguments = {}) const {
    arguments.insert(arguments.begin(), {"--config", write(kCommon + text)});
    return SweepFile(arguments);
  }
  // The [sweep] table begins in line 5, its parameters in line 8.
  void expect_error(const std::string& parameters, const std::string& message, const std::string& hint = "",
                    const std::string& more = "") const {
    const Error error = error_of(
        [&] { sweep("[sweep]\nmethod = 'random'\nrun_cap = 4\n" + more + "[sweep.parameters]\n" + parameters); });
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_THAT(error.hint(), HasSubstr(hint));
  }
};

TEST_F(SweepFileTest, ParametersKeepTheirOrderHoweverTheyAreWritten) {
  const SweepFile file = sweep(
      "[sweep]\nmethod = 'grid'\nparameters.seed.values = [3, 1]\nparameters.learning_rate = {values = [1e-4]}\n"
      "[sweep.parameters.freeze]\nvalues = ['base', {first_layers = 2}, ['bert.embeddings.*']]\n");
  const auto& parameters = file.spec().parameters;
  ASSERT_EQ(parameters.size(), 3u);
  EXPECT_EQ(parameters[0].name, "seed");
  EXPECT_EQ(parameters[1].name, "learning_rate");
  EXPECT_THAT(parameters[2].values, ElementsAre("\"base\"", "{first_layers = 2}", "[\"bert.embeddings.*\"]"));
}

TEST_F(SweepFileTest, DistributionFollowsFromWhatIsGivenAsInWandb) {
  const SweepFile file = sweep(
      "[sweep]\nmethod = 'random'\nrun_cap = 2\n[sweep.parameters]\n"
      "max_steps = {value = 7}\nseed = {values = [1, 2]}\nglobal_batch_size = {min = 8, max = 16}\n"
      "weight_decay = {min = 0, max = 0.5}\n");
  const auto distribution = [&](int i) { return file.spec().parameters[static_cast<std::size_t>(i)].distribution; };
  EXPECT_EQ(distribution(0), SweepSpec::Distribution::constant);
  EXPECT_EQ(distribution(1), SweepSpec::Distribution::categorical);
  EXPECT_EQ(distribution(2), SweepSpec::Distribution::int_uniform);
  EXPECT_EQ(distribution(3), SweepSpec::Distribution::uniform);
}

TEST_F(SweepFileTest, TrialsAreTheFileTheCommandLineAndTheParameters) {
  const SweepFile file = sweep(
      "seed = 5\nwarmup_ratio = 0.5\n[sweep]\nmethod = 'grid'\nmetric = {name = 'eval_auc', goal = 'maximize'}\n"
      "parameters.freeze.values = ['base', ['x.*']]\n",
      {"--seed", "6"});
  const Config config = file.trial_config("trial 1", {{"freeze", "[\"x.*\"]"}}, "o/trial_001/run");
  EXPECT_EQ(config.seed, 6);
  EXPECT_EQ(config.warmup_ratio, 0.5);
  EXPECT_THAT(config.freeze.patterns, ElementsAre("x.*"));
  EXPECT_EQ(config.output_dir, "o/trial_001/run");
  EXPECT_EQ(config.metric_for_best_model, "auc") << "a trial keeps what the sweep compares by";
  EXPECT_TRUE(config.greater_is_better);
  EXPECT_TRUE(config.load_best_model_at_end) << "the defaults that follow from others are filled in";
}

TEST_F(SweepFileTest, ImpossibleTrialsAreNamed) {
  const SweepFile file = sweep(
      "[sweep]\nmethod = 'grid'\nparameters.learning_rate.values = [-1.0]\nparameters.global_batch_size.values = [8]\n",
      {"--gradient_accumulation_steps", "3"});
  const Error range = error_of([&] { file.trial_config("trial 4", {{"learning_rate", "-1.0"}}, "o"); });
  EXPECT_STREQ(range.what(), "trial 4: learning_rate: expected a number, at least 0, found the number -1.0");
  const Error rule = error_of([&] { file.trial_config("trial 5", {{"global_batch_size", "8"}}, "o"); });
  EXPECT_THAT(rule.what(), HasSubstr("trial 5: global_batch_size: 8 rows cannot be dealt"));
  const Error type = error_of([&] { file.trial_config("trial 6", {{"seed", "0.5"}}, "o"); });
  EXPECT_THAT(type.what(), HasSubstr("trial 6: seed: expected an integer"));
}

TEST_F(SweepFileTest, WrittenDownItReadsBackToTheSame) {
  const SweepFile file = sweep(
      "num_train_epochs = 7\n[sweep]\nmethod = 'sobol'\nrun_cap = 9\nseed = 3\nranks_per_trial = 2\nmax_failures = 4\n"
      "save_trials = 'all'\nmetric = {name = 'f1', goal = 'maximize'}\n[sweep.parameters]\n"
      "warmup_ratio = {min = 0.0, max = 0.3}\nmax_seq_length = {min = 16, max = 64, q = 16, distribution = "
      "'q_uniform'}\nlearning_rate = {distribution = 'log_uniform_values', min = 1e-5, max = 1e-3}\n"
      "freeze = {values = [{first_layers = 2}, 'none']}\nmax_grad_norm = {distribution = 'normal', mu = 3, sigma = "
      "0.1}\n"
      "per_device_eval_batch_size = {min = 8, max = 16}\nseed = {value = 4}\n"
      "[sweep.early_terminate]\ntype = 'asha'\nmax_t = 9\nreduction_factor = 3\n",
      {"--weight_decay", "0.25"});
  std::ofstream(folder_ / "again.toml") << file.to_toml();
  const SweepFile again({"--config", (folder_ / "again.toml").string()});
  EXPECT_EQ(again.spec(), file.spec());
  EXPECT_EQ(again.to_toml(), file.to_toml());
  EXPECT_EQ(again.trial_config("t", {}, "o"), file.trial_config("t", {}, "o"));
  EXPECT_EQ(again.trial_config("t", {}, "o").weight_decay, 0.25);
}

TEST_F(SweepFileTest, MistakesAreNamedWithTheirLine) {
  expect_error("lerning_rate = {value = 1}", "run.toml:9:1: sweep.parameters: unknown key \"lerning_rate\"",
               "\"learning_rate\"");
  expect_error("output_dir = {value = 'x'}", "run.toml:9:14: sweep.parameters.output_dir: it is the sweep's own");
  expect_error("seed = 3", "run.toml:9:8: sweep.parameters.seed: expected a table such as");
  expect_error("seed = {vales = [3]}", "\"vales\" means nothing to the distribution uniform", "min, max");
  expect_error("seed = {values = []}", "expected a list of values");
  expect_error("seed = {min = 3}", "\"max\" is missing");
  expect_error("seed = {min = 3, max = 2}", "max is below min");
  expect_error("learning_rate = {min = 0, max = 2, distribution = 'log_uniform_values'}", "min must be above 0");
  expect_error("learning_rate = {min = 0, max = 2, distribution = 'log_uniform'}", "expected one of constant",
               "log_uniform_values");
  expect_error("learning_rate = {min = 0, max = 2, values = [1]}", "means nothing to the distribution categorical");
  expect_error("validation_split = {value = 0.2}", "run.toml:3:1: validation_split: validation_split is a parameter");
  expect_error("seed = {value = 1}", "unknown key \"runcap\"", "\"run_cap\"", "runcap = 3\n");
  expect_error("seed = {value = 1}", "run.toml:8:10: sweep.metric: \"goal\" is missing", "minimize",
               "metric = {name = 'eval_accuracy'}\n");
  expect_error("seed = {value = 1}", "expected one of minimize, maximize", "maximize",
               "metric = {name = 'eval_accuracy', goal = 'maximise'}\n");
  expect_error("seed = {value = 1}", "\"max_t\" is missing", "num_train_epochs", "early_terminate = {type = 'asha'}\n");
  expect_error("seed = {value = 1}", "expected one of asha, median", "asha and median",
               "early_terminate = {type = 'hyperband'}\n");
}

TEST_F(SweepFileTest, MethodsNeedWhatTheyNeed) {
  const auto message = [&](const std::string& text) { return std::string(error_of([&] { sweep(text); }).what()); };
  EXPECT_THAT(message("[sweep]\nmethod = 'random'\nparameters.seed.value = 1"), HasSubstr("\"run_cap\" is missing"));
  EXPECT_THAT(message("[sweep]\nmethod = 'bayes'"), HasSubstr("expected one of grid, random, sobol"));
  EXPECT_THAT(message("[sweep]\nmethod = 'grid'\nparameters.learning_rate = {min = 0.1, max = 0.2}"),
              HasSubstr("a grid cannot list the values of learning_rate, which is uniform"));
  EXPECT_THAT(message("[sweep]\nmethod = 'grid'"), HasSubstr("\"parameters\" is missing"));
  EXPECT_THAT(message("seed = 1"), HasSubstr("there is no [sweep] table"));
  EXPECT_THAT(message("sweep = 1"), HasSubstr("expected a table [sweep]"));
  EXPECT_THAT(message("overwrite_output_dir = true\n[sweep]\nmethod = 'grid'\nparameters.seed.values = [1]"),
              HasSubstr("overwrite_output_dir: it means nothing to a sweep"));
}

TEST_F(SweepFileTest, OtherCommandsPassTheTableOver) {
  EXPECT_EQ(train("seed = 3\n[sweep]\nmethod = 'whatever'").seed, 3);
  EXPECT_TRUE(has_sweep_table({"--config", write("[sweep]\n")}));
  EXPECT_FALSE(has_sweep_table({"--config", write("seed = 1\n")}));
  EXPECT_FALSE(has_sweep_table({"--seed", "1"}));
}

}  // namespace
}  // namespace bertdist
