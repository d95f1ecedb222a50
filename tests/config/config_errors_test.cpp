// What the user is told: the place, what is wrong there, and what to do.

#include <gmock/gmock.h>

#include "config_files.h"

namespace bertdist {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ConfigErrors : public ConfigTest {
 protected:
  // The text begins in line 4.
  Error file_error(const std::string& text) const {
    return error_of([&] { train(text); });
  }
  Error line_error(const std::vector<std::string>& arguments) const {
    return error_of([&] { train("", arguments); });
  }
  void expect(const Error& error, const std::string& message, const std::string& hint = "") const {
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_THAT(error.hint(), HasSubstr(hint));
  }
};

TEST_F(ConfigErrors, UnknownKeyNamesItsPlaceAndTheNearestKey) {
  expect(file_error("learning_rat = 1"), "run.toml:4:1: unknown key \"learning_rat\"", "\"learning_rate\"");
  expect(file_error("seed = 1\n  lerning_rate = 1"), "run.toml:5:3: ", "\"learning_rate\"");
  expect(file_error("evaluation_strategy = 'no'"), "unknown key", "\"eval_strategy\"");
  expect(line_error({"--lr", "1"}), "unknown key \"lr\"", "\"learning_rate\"");
  expect(line_error({"--fp16"}), "unknown key \"fp16\"", "\"dtype\"");
  expect(file_error("epochs = 3"), "unknown key", "\"num_train_epochs\"");
  expect(file_error("validation = 'v.csv'"), "unknown key", "\"validation_file\"");
  expect(file_error("qqqqqq = 3"), "unknown key", "--help");
  expect(line_error({"--batch_size", "3"}), "unknown key \"batch_size\"", "\"global_batch_size\"");
  expect(line_error({"--seed.x", "3"}), "unknown key \"seed.x\"", "\"seed\"");
  expect(file_error("[training]\nseed = 1"), "run.toml:4:2: unknown table \"training\"", "without a [table]");
  expect(file_error("[debug]\nworld_siz = 1"), "run.toml:5:1: unknown key \"debug.world_siz\"", "\"debug.world_size\"");
  expect(line_error({"--debug.world_siz", "1"}), "unknown key \"debug.world_siz\"", "\"debug.world_size\"");
  expect(file_error("[debug]\nworld_size = 'all'"), "run.toml:5:14: debug.world_size: expected an integer");
}

TEST_F(ConfigErrors, FirstMistakeInTheFileIsTheOneReported) {
  expect(file_error("zzzz = 1\naaaa = 1"), "run.toml:4:1: unknown key \"zzzz\"");
}

TEST_F(ConfigErrors, SweepsBelongIntoAFile) {
  expect(line_error({"--sweep.method", "grid"}), "a sweep is not described on the command line", "--config");
  expect(file_error("sweep = 1"), "run.toml:4:9: sweep: expected a table [sweep], found the integer 1");
}

TEST_F(ConfigErrors, WrongTypesNameExpectedAndFound) {
  expect(file_error("learning_rate = 'fast'"),
         "run.toml:4:17: learning_rate: expected a number, at least 0, found the string \"fast\"");
  expect(file_error("seed = 1.5"), "seed: expected an integer, at least 0, found the number 1.5");
  expect(file_error("header = 'yes'"), "header: expected true or false, found the string \"yes\"");
  expect(file_error("text_column = true"), "text_column: expected a column's name or position, found true");
  expect(file_error("test_file = ['a']"), "test_file: expected a path, found a list");
  expect(file_error("test_file = {a = 1}"), "found a table");
  expect(file_error("test_file = 2020-01-01"), "found a date or time");
  expect(file_error("output_columns = ['a',\n true]"), "run.toml:5:2: output_columns: expected a column's name");
  expect(line_error({"--seed", "many"}), "--seed: expected an integer, at least 0, found the string \"many\"");
  expect(line_error({"--header", "yes"}), "--header: expected true or false, found the string \"yes\"");
  expect(line_error({"--learning_rate", "2e-4x"}), "--learning_rate: expected a number");
}

TEST_F(ConfigErrors, ValuesOutOfRange) {
  expect(file_error("learning_rate = -1"), "expected a number, at least 0, found the integer -1");
  expect(file_error("learning_rate = nan"), "expected a number, at least 0, found the number nan");
  expect(file_error("learning_rate = inf"), "expected a number");
  expect(file_error("adam_beta1 = 1"), "adam_beta1: expected a number, at least 0 and below 1, found the integer 1");
  expect(file_error("warmup_ratio = 1.5"), "expected a number, from 0 to 1, found the number 1.5");
  expect(file_error("num_train_epochs = 0"), "expected a number, above 0 and at most 1000000, found the integer 0");
  expect(file_error("per_device_train_batch_size = 0"), "expected an integer, from 1 to 1048576, found the integer 0");
  expect(file_error("validation_split = 1.0"), "at least 0 and below 1");
  expect(file_error("warmup_steps = 1.5"), "run.toml:4:1: warmup_steps: 1.5 is not a whole number of steps");
  expect(line_error({"--comm_timeout_s", "0"}), "--comm_timeout_s: expected a number, above 0");
  expect(file_error("delimiter = ';;'"), "delimiter: expected one ASCII character");
  expect(file_error("delimiter = '\"'"), "the delimiter and the quote are the same");
}

TEST_F(ConfigErrors, OutputColumnsMayNotRepeatAKey) {
  const auto error_of_columns = [](const char* list) {
    return error_of([&] {
      parse_config(Command::predict, {"--model_name_or_path", "m", "--test_file", "t.csv", "--output_columns", list});
    });
  };
  expect(error_of_columns("['id', 'logits']"), "\"logits\" is a key of each prediction already", "position");
  expect(error_of_columns("['id', 'text', 'id']"), "\"id\" is named twice");
}

TEST_F(ConfigErrors, ChoicesAreListed) {
  expect(file_error("lr_scheduler_type = 'cosin'"),
         "expected one of linear, cosine, constant, constant_with_warmup, found the string \"cosin\"", "\"cosine\"");
  expect(file_error("metric_for_best_model = 'eval_acc'"), "expected one of loss, accuracy, auc", "\"accuracy\"");
  expect(file_error("encoding = 'latin1'"), "one of utf-8, latin-1", "\"latin-1\"");
}

TEST_F(ConfigErrors, WhatALaterVersionMayHaveIsSaidToBeMissing) {
  expect(file_error("device = 'cuda:1'"), "expected one of auto, cpu, cuda");
  expect(file_error("dtype = 'float16'"), "dtype: \"float16\" is not available", "float32");
  expect(file_error("problem_type = 'regression'"), "\"regression\" is not available", "single_label_classification");
  expect(file_error("problem_type = 'multi_label_classification'"), "is not available");
  expect(file_error("dtype = 'int8'"), "expected one of auto, float32, bfloat16, found the string \"int8\"");
}

TEST_F(ConfigErrors, FreezeSaysItsForms) {
  expect(file_error("freeze = 'encoder'"), "run.toml:4:10: freeze: expected one of none, base", "{first_layers = 4}");
  expect(file_error("[freeze]\nfirst_layer = 3"), "run.toml:5:15: freeze: unknown key \"first_layer\"", "first_layers");
  expect(file_error("freeze = {first_layers = 0}"), "freeze: expected an integer, at least 1");
  expect(file_error("freeze = {}"), "the table is empty");
  expect(file_error("freeze = []"), "the list of patterns is empty", "none");
  expect(file_error("freeze = ['a', 1]"), "freeze: expected a pattern of parameter names, found the integer 1");
  expect(line_error({"--freeze.layers", "4"}), "--freeze: unknown key \"layers\"");
}

TEST_F(ConfigErrors, LabelsMustBeNumberedFromZero) {
  expect(file_error("id2label = {0 = 'a', 2 = 'b'}"), "the label id 2 is not one of 0 to 1", "2 labels");
  expect(file_error("id2label = {x = 'a'}"), "the key \"x\" is not a label id");
  expect(file_error("id2label = ['a', 'a']"), "the label \"a\" is given twice");
  expect(file_error("id2label = ['a']"), "at least two labels");
  expect(file_error("id2label = 'a'"), "expected a list of label names or a table of them by id");
  expect(file_error("id2label = ['a', 1.5]"), "expected a label's name, found the number 1.5");
  expect(file_error("label2id = {a = 0, b = 0}"), "the label id 0 is given twice");
  expect(file_error("label2id = ['a']"), "expected a table of label ids by name");
  expect(file_error("id2label = ['a', 'b']\nlabel2id = {a = 1, b = 0}"),
         "run.toml:5:1: label2id: it is not the inverse of ", "one of the two");
}

TEST_F(ConfigErrors, KeysThatExcludeEachOtherAreBothNamed) {
  const Error error = error_of([&] { train("global_batch_size = 8\nper_device_train_batch_size = 8"); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("run.toml:4:1: global_batch_size"),
                                  HasSubstr("run.toml:5:1: per_device_train_batch_size exclude each other")));
  expect(file_error("validation_file = 'v'\nvalidation_split = 0.1"), "exclude each other");
  expect(file_error("global_batch_size = 8\ngradient_accumulation_steps = 3"), "8 rows cannot be dealt", "multiple");
}

TEST_F(ConfigErrors, TrainingNeedsWhatItEvaluatesAndSaves) {
  expect(file_error("eval_strategy = 'epoch'"), "eval_strategy: there is nothing to evaluate on", "validation_file");
  expect(file_error("load_best_model_at_end = true"), "load_best_model_at_end: the best evaluation may have no");
  expect(file_error("validation_file = 'v'\nsave_strategy = 'steps'\nload_best_model_at_end = true"), "no checkpoint",
         "must be the same");
  expect(file_error("validation_file = 'v'\neval_strategy = 'steps'\neval_steps = 20\nsave_steps = 30\n"
                    "load_best_model_at_end = true"),
         "no checkpoint", "multiple of eval_steps");
  expect(file_error("early_stopping_patience = 2"), "early_stopping_patience: it needs load_best_model_at_end");
}

TEST_F(ConfigErrors, EachCommandNamesWhatItMisses) {
  const auto missing = [](Command command, std::vector<std::string> arguments) {
    return std::string(error_of([&] { parse_config(command, arguments); }).what());
  };
  EXPECT_THAT(missing(Command::train, {}), HasSubstr("model_name_or_path is missing"));
  EXPECT_THAT(missing(Command::train, {"--model_name_or_path=m"}), HasSubstr("train_file is missing"));
  EXPECT_THAT(missing(Command::train, {"--model_name_or_path=m", "--train_file=t"}),
              HasSubstr("output_dir is missing"));
  EXPECT_THAT(missing(Command::prepare, {"--model_name_or_path=m"}),
              HasSubstr("train_file, validation_file or test_file is missing"));
  EXPECT_THAT(missing(Command::tokenize, {}), HasSubstr("model_name_or_path is missing"));
  EXPECT_THAT(missing(Command::evaluate, {"--model_name_or_path=m"}),
              HasSubstr("validation_file or test_file is missing"));
  EXPECT_THAT(missing(Command::predict, {"--model_name_or_path=m"}), HasSubstr("test_file is missing"));
  expect(error_of([&] { parse_config(Command::predict, {"--model_name_or_path=m"}); }), "", "--test_file VALUE");
}

TEST_F(ConfigErrors, OnlyPredictReadsTheStandardInput) {
  expect(line_error({"--test_file", "-"}), "--test_file: only predict's test_file");
  const Config config = parse_config(Command::predict, {"--model_name_or_path", "m", "--test_file", "-"});
  EXPECT_EQ(config.test_file, "-");
}

TEST_F(ConfigErrors, PredictionsAreCsvOrJsonl) {
  const Error error = error_of([] {
    parse_config(Command::predict, {"--model_name_or_path=m", "--test_file=t", "--output_file=o.txt"});
  });
  expect(error, "--output_file: o.txt is neither .csv nor .jsonl");
}

TEST_F(ConfigErrors, CommandLineThatIsNotKeysAndValues) {
  expect(line_error({"--seed"}), "--seed: no value follows");
  expect(line_error({"--seed", "--header"}), "--seed: no value follows");
  expect(line_error({"--config"}), "--config: no value follows");
  expect(line_error({"data.csv"}), "unexpected argument \"data.csv\"", "--key value");
  expect(line_error({"-x"}), "unexpected argument \"-x\"");
  expect(line_error({"--output_columns", "[\"id"}), "--output_columns: [\"id is not TOML", "shell's quotes");
  expect(line_error({"--text_column", "\xff"}), "--text_column: the value is not UTF-8");
}

TEST_F(ConfigErrors, FileThatIsNotTomlOrNotThere) {
  expect(file_error("seed = = 1"), "run.toml:4:8: not TOML");
  expect(file_error("seed = 1\nseed = 2"), "run.toml:5:");
  expect(error_of([&] {
           parse_config(Command::train, {"--config", "/no/such.toml"});
         }),
         "cannot read the configuration file /no/such.toml");
  expect(error_of([&] { parse_config(Command::train, {"--config", folder_.string()}); }), "cannot read");
}

}  // namespace
}  // namespace bertdist
