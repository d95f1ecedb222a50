// What a configuration means: defaults, the file, the command line, and the rules that join keys.

#include "config/config.h"

#include <gmock/gmock.h>

#include "config/replay_request.h"
#include "config_files.h"

namespace bertdist {
namespace {

using Strategy = Config::Strategy;
using Kind = Config::Freeze::Kind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

using Defaults = ConfigTest;

TEST_F(Defaults, AreThoseOfTrainingArguments) {
  const Config config = train("");
  EXPECT_EQ(config.per_device_train_batch_size, 8);
  EXPECT_EQ(config.per_device_eval_batch_size, 8);
  EXPECT_EQ(config.gradient_accumulation_steps, 1);
  EXPECT_EQ(config.num_train_epochs, 3);
  EXPECT_EQ(config.max_steps, -1);
  EXPECT_EQ(config.learning_rate, 5e-5);
  EXPECT_EQ(config.lr_scheduler_type, Config::Scheduler::linear);
  EXPECT_EQ(config.warmup_steps, 0);
  EXPECT_EQ(config.weight_decay, 0);
  EXPECT_EQ(config.adam_beta1, 0.9);
  EXPECT_EQ(config.adam_beta2, 0.999);
  EXPECT_EQ(config.adam_epsilon, 1e-8);
  EXPECT_EQ(config.max_grad_norm, 1);
  EXPECT_EQ(config.seed, 42);
  EXPECT_EQ(config.logging_strategy, Strategy::steps);
  EXPECT_EQ(config.logging_steps, 500);
  EXPECT_EQ(config.eval_strategy, Strategy::no);
  EXPECT_EQ(config.save_strategy, Strategy::steps);
  EXPECT_EQ(config.save_steps, 500);
  EXPECT_FALSE(config.load_best_model_at_end);
  EXPECT_FALSE(config.save_total_limit);
}

TEST_F(Defaults, OfAValidationSetAreEpochsAndTheBestModel) {
  for (const std::string set : {"validation_file = 'v.csv'", "validation_split = 0.1"}) {
    const Config config = train(set);
    EXPECT_EQ(config.eval_strategy, Strategy::epoch);
    EXPECT_EQ(config.save_strategy, Strategy::epoch);
    EXPECT_EQ(config.logging_strategy, Strategy::epoch);
    EXPECT_TRUE(config.load_best_model_at_end);
  }
}

TEST_F(Defaults, FollowAnEvaluationBySteps) {
  const Config config = train("validation_file = 'v.csv'\neval_strategy = 'steps'\nlogging_steps = 30");
  EXPECT_EQ(config.eval_steps, 30);
  EXPECT_EQ(config.save_strategy, Strategy::steps);
  EXPECT_EQ(config.save_steps, 30);
  EXPECT_EQ(config.logging_strategy, Strategy::steps);
  EXPECT_TRUE(config.load_best_model_at_end);
}

TEST_F(Defaults, LeaveTheBestModelOutWhereItHasNoCheckpoint) {
  EXPECT_FALSE(train("validation_file = 'v.csv'\nsave_strategy = 'no'").load_best_model_at_end);
  EXPECT_FALSE(train("validation_file = 'v.csv'\neval_strategy = 'no'").load_best_model_at_end);
  EXPECT_FALSE(train("validation_file = 'v.csv'\neval_strategy = 'steps'\neval_steps = 20\nsave_steps = 30")
                   .load_best_model_at_end);
}

TEST_F(Defaults, KnowWhichDirectionOfAMetricIsBetter) {
  EXPECT_FALSE(train("").greater_is_better);
  EXPECT_TRUE(train("metric_for_best_model = 'eval_accuracy'").greater_is_better);
  EXPECT_EQ(train("metric_for_best_model = 'eval_accuracy'").metric_for_best_model, "accuracy");
  EXPECT_FALSE(train("metric_for_best_model = 'auc'\ngreater_is_better = false").greater_is_better);
}

TEST_F(Defaults, PutTheTokenCacheIntoTheUsersCacheFolder) {
  EXPECT_EQ(train("").token_cache_dir, "/home/someone/.cache/bertdist");
  setenv("XDG_CACHE_HOME", "/fast", 1);
  EXPECT_EQ(train("").token_cache_dir, "/fast/bertdist");
  EXPECT_EQ(train("token_cache_dir = '~/cache'").token_cache_dir, "/home/someone/cache");
}

using Sources = ConfigTest;

TEST_F(Sources, EmptyTextUnsetsAKeyOfTheFile) {
  EXPECT_EQ(train("resume_from_checkpoint = 'latest'").resume_from_checkpoint, "latest");
  EXPECT_FALSE(train("resume_from_checkpoint = 'latest'", {"--resume_from_checkpoint", ""}).resume_from_checkpoint);
  EXPECT_EQ(train("test_file = 'x.csv'", {"--test_file="}).test_file, "");
}

TEST_F(Sources, CommandLineWinsOverFileWinsOverDefault) {
  EXPECT_EQ(train("seed = 1").seed, 1);
  EXPECT_EQ(train("seed = 1", {"--seed", "2"}).seed, 2);
  EXPECT_EQ(train("seed = 1", {"--seed", "2", "--seed=3"}).seed, 3);
}

TEST_F(Sources, CommandLineNeedsNoFile) {
  const Config config = parse_config(Command::train, {"--model_name_or_path", "m", "--train_file=t.csv", "--output-dir",
                                                      "~/o", "--learning-rate=2e-4"});
  EXPECT_EQ(config.model_name_or_path, "m");
  EXPECT_EQ(config.train_file, "t.csv");
  EXPECT_EQ(config.output_dir, "/home/someone/o");
  EXPECT_EQ(config.learning_rate, 2e-4);
}

TEST_F(Sources, FlagsStandBareOrWithTheirValue) {
  EXPECT_TRUE(train("", {"--overwrite_output_dir"}).overwrite_output_dir);
  EXPECT_TRUE(train("", {"--overwrite_output_dir", "--seed", "1"}).overwrite_output_dir);
  EXPECT_TRUE(train("", {"--overwrite_output_dir", "true"}).overwrite_output_dir);
  EXPECT_FALSE(train("overwrite_output_dir = true", {"--overwrite_output_dir", "false"}).overwrite_output_dir);
  EXPECT_FALSE(train("overwrite_output_dir = true", {"--overwrite_output_dir=false"}).overwrite_output_dir);
}

TEST_F(Sources, ATableOrOneOfItsKeysSwitchesDebugModeOn) {
  EXPECT_FALSE(train("").debug);
  EXPECT_TRUE(train("debug = true").debug);
  EXPECT_TRUE(train("[debug]").debug);
  EXPECT_TRUE(train("", {"--debug"}).debug);
  EXPECT_EQ(train("[debug]\nworld_size = 3").debug_world_size, 3);
  EXPECT_EQ(train("[debug]\nworld_size = 3", {"--debug.world-size=2"}).debug_world_size, 2);
  EXPECT_TRUE(train("", {"--debug.world_size", "2"}).debug);
  EXPECT_FALSE(train("[debug]\nworld_size = 3", {"--debug", "false"}).debug);
}

TEST_F(Sources, NegativeNumbersAndEmptyTextAreValues) {
  EXPECT_EQ(train("max_steps = 5", {"--max_steps", "-1"}).max_steps, -1);
  EXPECT_EQ(train("", {"--quote", ""}).quote, "");
  EXPECT_EQ(train("", {"--quote="}).quote, "");
  EXPECT_EQ(train("", {"--delimiter", "\\t"}).delimiter, "\t");
  EXPECT_EQ(train("delimiter = \"\\t\"").delimiter, "\t");
}

TEST_F(Sources, TextOnTheCommandLineIsTakenLiterally) {
  EXPECT_EQ(train("", {"--text_column", "a \"b\" \\n"}).text_column, "a \"b\" \\n");
  EXPECT_EQ(train("", {"--text_column", "3"}).text_column, "3");
  EXPECT_EQ(train("text_column = 3").text_column, "3");
}

TEST_F(Sources, FreezeInAllItsForms) {
  EXPECT_EQ(train("").freeze.kind, Kind::none);
  EXPECT_EQ(train("freeze = 'base'").freeze.kind, Kind::base);
  EXPECT_EQ(train("freeze = 'embeddings'").freeze.kind, Kind::embeddings);
  EXPECT_EQ(train("", {"--freeze", "base_except_pooler"}).freeze.kind, Kind::base_except_pooler);
  const Config::Freeze layers{.kind = Kind::first_layers, .first_layers = 4, .patterns = {}};
  EXPECT_EQ(train("freeze = {first_layers = 4}").freeze, layers);
  EXPECT_EQ(train("[freeze]\nfirst_layers = 4").freeze, layers);
  EXPECT_EQ(train("", {"--freeze", "{first_layers = 4}"}).freeze, layers);
  EXPECT_EQ(train("freeze = 'base'", {"--freeze.first_layers", "4"}).freeze, layers);
  const Config::Freeze patterns{.kind = Kind::patterns, .patterns = {"bert.encoder.*", "*.bias"}};
  EXPECT_EQ(train("freeze = ['bert.encoder.*', '*.bias']").freeze, patterns);
  EXPECT_EQ(train("", {"--freeze", "[\"bert.encoder.*\", \"*.bias\"]"}).freeze, patterns);
}

TEST_F(Sources, LabelsInAllTheirForms) {
  const std::vector<std::string> names{"Safe", "Not Safe"};
  for (const Config& config :
       {train("id2label = ['Safe', 'Not Safe']"), train("id2label = {0 = 'Safe', 1 = 'Not Safe'}"),
        train("[id2label]\n1 = 'Not Safe'\n0 = 'Safe'"), train("label2id = {Safe = 0, 'Not Safe' = 1}"),
        train("id2label = ['Safe', 'Not Safe']\nlabel2id = {Safe = 0, 'Not Safe' = 1}"),
        train("id2label = ['a', 'b', 'c']", {"--id2label.0", "Safe", "--id2label.1=Not Safe"}),
        train("", {"--id2label", "[\"Safe\", \"Not Safe\"]"}),
        train("", {"--label2id.Safe", "0", "--label2id.Not Safe", "1"})}) {
    EXPECT_EQ(config.id2label, names);
    EXPECT_THAT(config.label2id, ElementsAre(Pair("Not Safe", 1), Pair("Safe", 0)));
  }
  EXPECT_THAT(train("", {"--id2label.0", "0", "--id2label.1", "1"}).id2label, ElementsAre("0", "1"));
}

TEST_F(Sources, OutputColumnsAsListOrAlone) {
  EXPECT_THAT(train("output_columns = ['id', 2]").output_columns, ElementsAre("id", "2"));
  EXPECT_THAT(train("output_columns = 'id'").output_columns, ElementsAre("id"));
  EXPECT_THAT(train("", {"--output_columns", "[\"id\"]"}).output_columns, ElementsAre("id"));
  EXPECT_THAT(train("", {"--output_columns", "id"}).output_columns, ElementsAre("id"));
}

TEST_F(Sources, OneFileServesAllCommands) {
  const std::string file = write(
      "model_name_or_path = 'm'\ntrain_file = 't.csv'\ntest_file = 'x.csv'\noutput_dir = 'o'\noutput_file = 'p.csv'\n"
      "validation_split = 0.1\nlearning_rate = 1");
  for (const Command command :
       {Command::train, Command::prepare, Command::tokenize, Command::evaluate, Command::predict}) {
    EXPECT_EQ(parse_config(command, {"--config", file}).model_name_or_path, "m") << command_name(command);
  }
  // What train alone does not allow.
  EXPECT_EQ(parse_config(Command::evaluate, {"--config", file, "--validation_file", "v.csv", "--train_file", "-"})
                .validation_file,
            "v.csv");
}

TEST_F(Sources, EveryValueHasAName) {
  const std::map<std::string, std::string> values = option_values(train("seed = 7\nfreeze = 'base'"));
  EXPECT_EQ(values.at("seed"), "7");
  EXPECT_EQ(values.at("freeze"), "\"base\"");
  EXPECT_FALSE(values.contains("save_total_limit"));
}

TEST(Options, AreUsedByTheCommandsThatSaySo) {
  EXPECT_TRUE(uses_option(Command::prepare, "train_file"));
  EXPECT_FALSE(uses_option(Command::predict, "train_file"));
  EXPECT_FALSE(uses_option(Command::predict, "validation_file"));
  EXPECT_TRUE(uses_option(Command::predict, "test_file"));
  EXPECT_FALSE(uses_option(Command::predict, "no such key"));
}

TEST(WarmUp, StepsWinOverTheRatioAndSharesAreRoundedUp) {
  Config config;
  EXPECT_EQ(num_warmup_steps(config, 101), 0);
  config.warmup_ratio = 0.1;
  EXPECT_EQ(num_warmup_steps(config, 101), 11);
  config.warmup_steps = 0.25;
  EXPECT_EQ(num_warmup_steps(config, 101), 26);
  config.warmup_steps = 7;
  EXPECT_EQ(num_warmup_steps(config, 101), 7);
}

TEST(ReplayRequest, NamesARunAStepAndKeysThatWin) {
  const ReplayRequest request = parse_replay_request({"runs/a", "--seed", "1", "--step=12", "--train_file", "b.csv"});
  EXPECT_EQ(request.run, "runs/a");
  EXPECT_EQ(request.step, 12);
  EXPECT_THAT(request.arguments, ElementsAre("--seed", "1", "--train_file", "b.csv"));
  EXPECT_THAT(error_of([] { parse_replay_request({"runs/a", "--step", "x"}); }).what(), HasSubstr("--step: expected"));
  EXPECT_THAT(error_of([] { parse_replay_request({"runs/a", "--step"}); }).what(), HasSubstr("--step: no value"));
  EXPECT_THAT(error_of([] { parse_replay_request({"runs/a"}); }).what(), HasSubstr("--step is missing"));
  EXPECT_THAT(error_of([] { parse_replay_request({"--step", "1"}); }).what(), HasSubstr("no run"));
  EXPECT_EQ(parse_invocation({"replay", "runs/a", "--step", "3"}).command, Command::replay);
  EXPECT_TRUE(parse_invocation({"replay"}).help);
}

TEST(Invocation, StartsWithACommandOrMeansTrain) {
  EXPECT_EQ(parse_invocation({}).command, Command::train);
  EXPECT_EQ(parse_invocation({"--seed", "1"}).command, Command::train);
  const Invocation predict = parse_invocation({"predict", "--test_file", "-"});
  EXPECT_EQ(predict.command, Command::predict);
  EXPECT_THAT(predict.arguments, ElementsAre("--test_file", "-"));
  EXPECT_FALSE(predict.help);
  EXPECT_TRUE(parse_invocation({"predict", "--help"}).help);
  EXPECT_TRUE(parse_invocation({"help"}).help);
  EXPECT_EQ(parse_invocation({"help"}).command, Command::train);
  EXPECT_TRUE(parse_invocation({"help", "predict"}).help);
  EXPECT_EQ(parse_invocation({"help", "predict"}).command, Command::predict);
  EXPECT_THAT(error_of([] { parse_invocation({"help", "predcit"}); }).hint(), HasSubstr("\"predict\""));
  EXPECT_TRUE(parse_invocation({"--version"}).version);
  const Error error = error_of([] { parse_invocation({"trian"}); });
  EXPECT_THAT(error.what(), HasSubstr("unknown command \"trian\""));
  EXPECT_THAT(error.hint(), HasSubstr("\"train\""));
}

}  // namespace
}  // namespace bertdist
