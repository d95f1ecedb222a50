// What is generated from the options table: the saved configuration, --help, docs/configuration.md.

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "base/nearest_name.h"
#include "config/option.h"
#include "config/toml_text.h"
#include "config_files.h"

namespace bertdist {
namespace {

using testing::HasSubstr;
using testing::Not;

// A value for each key that is not its default, as TOML.
const std::map<std::string, std::string, std::less<>>& other_values() {
  static const std::map<std::string, std::string, std::less<>> values{
      {"model_name_or_path", "'other \"model\" \\ é'"},
      {"problem_type", "'single_label_classification'"},  // has one value only
      {"freeze", "['*.bias', 'a']"},
      {"frozen_dropout", "true"},
      {"classifier_dropout", "0.25"},
      {"max_seq_length", "77"},
      {"truncation_strategy", "'only_first'"},
      {"train_file", "'a\\tb.csv'"},
      {"validation_file", "'v.csv'"},
      {"test_file", "'x.csv'"},
      {"validation_split", "0.1"},
      {"format", "'jsonl'"},
      {"delimiter", "\"\\t\""},
      {"quote", "''"},
      {"header", "false"},
      {"encoding", "'latin-1'"},
      {"text_column", "2"},
      {"text_pair_column", "'b'"},
      {"label_column", "''"},
      {"id2label", "['no', '\"yes\"', \"1\\n\\u0001\"]"},
      {"label2id", "{no = 0, ' y.e=s' = 1}"},
      {"max_train_samples", "9007199254740993"},
      {"max_eval_samples", "3"},
      {"max_predict_samples", "4"},
      {"on_bad_row", "'skip'"},
      {"token_cache_dir", "'/cache'"},
      {"output_dir", "'other'"},
      {"overwrite_output_dir", "true"},
      {"resume_from_checkpoint", "'latest'"},
      {"output_file", "'p.jsonl'"},
      {"output_columns", "['id', 3]"},
      {"per_device_train_batch_size", "3"},
      {"per_device_eval_batch_size", "5"},
      {"global_batch_size", "12"},
      {"gradient_accumulation_steps", "2"},
      {"num_train_epochs", "0.1"},
      {"max_steps", "10"},
      {"seed", "9223372036854775807"},
      {"learning_rate", "1.2345678901234567e-7"},
      {"lr_scheduler_type", "'constant_with_warmup'"},
      {"warmup_steps", "17"},
      {"warmup_ratio", "0.30000000000000004"},
      {"weight_decay", "0.01"},
      {"adam_beta1", "0.8"},
      {"adam_beta2", "0.98"},
      {"adam_epsilon", "1e-300"},
      {"max_grad_norm", "1e22"},
      {"label_smoothing_factor", "0.1"},
      {"eval_strategy", "'steps'"},
      {"eval_steps", "7"},
      {"save_strategy", "'no'"},
      {"save_steps", "14"},
      {"logging_strategy", "'no'"},
      {"logging_steps", "3"},
      {"save_total_limit", "2"},
      {"load_best_model_at_end", "true"},
      {"metric_for_best_model", "'eval_mcc'"},
      {"greater_is_better", "true"},
      {"early_stopping_patience", "3"},
      {"feature_cache_max_gb", "1.5"},
      {"dtype", "'float32'"},
      {"device", "'cpu'"},
      {"num_threads", "2"},
      {"comm_timeout_s", "0.5"},
      {"ddp_bucket_cap_mb", "12.5"},
      {"overlap_grad_reduce", "false"},
      {"grad_reduce_in_bf16", "true"},
      {"debug", "true"},
      {"debug.world_size", "3"},
      {"debug.overfit_batches", "2"},
      {"debug.check_gradients", "true"},
      {"debug.trace", "'trace.json'"}};
  return values;
}

class OptionsTable : public ConfigTest {
 protected:
  // tokenize asks for the least: so each key can be tried alone.
  Config parse(const std::string& toml) const {
    const bool has_model = toml.find("model_name_or_path =") != toml.npos;
    return parse_config(Command::tokenize, {"--config", write((has_model ? "" : "model_name_or_path = 'm'\n") + toml)});
  }
};

TEST_F(OptionsTable, EachValueSurvivesSavingAndReading) {
  const Config unchanged = parse("");
  EXPECT_EQ(parse(to_toml(unchanged)), unchanged);
  for (const Option& option : options()) {
    ASSERT_TRUE(other_values().contains(option.name)) << "no value to test for " << option.name;
    const Config config = parse(std::string(option.name) + " = " + other_values().find(option.name)->second);
    const bool has_one_value = option.name == "problem_type";
    EXPECT_EQ(config == unchanged, has_one_value) << option.name;
    const std::string saved = to_toml(config);
    EXPECT_EQ(parse(saved), config) << option.name << " in\n" << saved;
    EXPECT_EQ(to_toml(parse(saved)), saved);
  }
}

TEST_F(OptionsTable, AllValuesTogetherSurviveSavingAndReading) {
  const std::set<std::string_view> excluded{"per_device_train_batch_size", "validation_split", "label2id", "debug"};
  std::string toml;
  for (const auto& [name, value] : other_values()) {
    if (!excluded.contains(name)) toml += name + " = " + value + "\n";
  }
  const Config config = parse(toml);
  EXPECT_EQ(config.learning_rate, 1.2345678901234567e-7);
  EXPECT_EQ(parse(to_toml(config)), config);
}

TEST_F(OptionsTable, EachFormOfFreezeSurvivesSavingAndReading) {
  for (const char* freeze :
       {"'none'", "'base'", "'base_except_pooler'", "'embeddings'", "{first_layers = 3}", "['a']"}) {
    const Config config = parse(std::string("freeze = ") + freeze);
    EXPECT_EQ(parse(to_toml(config)).freeze, config.freeze) << freeze;
  }
}

TEST_F(OptionsTable, EachKeyIsReadFromTheCommandLineAsFromTheFile) {
  for (const Option& option : options()) {
    const Config from_file = parse(std::string(option.name) + " = " + other_values().find(option.name)->second);
    const toml::table written = toml::parse("value = " + option.write(from_file).value_or("''"));
    const std::string value = written["value"].value_or(option.write(from_file).value_or(""));
    std::vector<std::string> arguments{"--model_name_or_path=m", "--" + std::string(option.name), value};
    EXPECT_EQ(parse_config(Command::tokenize, arguments), from_file) << option.name << " " << value;
  }
}

TEST_F(OptionsTable, DefaultsShownAreTheDefaultsTaken) {
  const Config config = parse("");
  EXPECT_EQ(find_option("learning_rate")->default_text, "5e-5");
  EXPECT_EQ(find_option("learning_rate")->write(config).value(), "5e-5");
  EXPECT_EQ(find_option("seed")->default_text, "42");
}

TEST(HelpText, ListsTheKeysOfEachCommandIn100Columns) {
  for (const Command command :
       {Command::train, Command::prepare, Command::tokenize, Command::evaluate, Command::predict}) {
    const std::string help = help_text(command);
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 100u) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
    for (const Option& option : options()) {
      const std::string entry = "\n  --" + std::string(option.name) + " ";
      EXPECT_EQ(help.find(entry) != help.npos, (option.commands & only(command)) != 0) << option.name;
    }
  }
  EXPECT_THAT(help_text(Command::train), HasSubstr("(default: 5e-5)"));
  EXPECT_THAT(help_text(Command::train), HasSubstr("One of no, steps, epoch."));
  EXPECT_THAT(help_text(Command::tokenize), Not(HasSubstr("--learning_rate")));
}

TEST(Documentation, IsWhatTheTableGenerates) {
  EXPECT_EQ(read_whole(BERTDIST_SOURCE_DIR "/docs/configuration.md"), configuration_markdown())
      << "run: build/cpu/bin/write_configuration docs/configuration.md";
}

TEST_F(OptionsTable, EveryShippedConfigurationIsAccepted) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(BERTDIST_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".toml") continue;
    ++files;
    EXPECT_NO_THROW(parse_config(Command::train, {"--config", entry.path().string()})) << entry.path();
  }
  EXPECT_GE(files, 2);
}

TEST(NearestName, IsAPrefixOrFewLettersAwayOrContained) {
  const std::vector<std::string_view> names{"learning_rate", "num_train_epochs", "seed"};
  EXPECT_EQ(nearest_name("learning", names), "learning_rate");
  EXPECT_EQ(nearest_name("lerning_rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("sede", names), "seed");
  EXPECT_EQ(nearest_name("epochs", names), "num_train_epochs");
  EXPECT_EQ(nearest_name("xyzzyx", names), "");
  EXPECT_EQ(nearest_name("", names), "");
}

TEST(TomlText, OfNumbersReadsBackToTheSameBits) {
  for (const double value : {0.0, -0.0, 1.0, 0.1, 5e-5, 1e-8, 1e22, 1e300, 5e-324, 0.1 + 0.2, 123456789.0}) {
    const toml::table table = toml::parse("v = " + toml_text(value));
    ASSERT_TRUE(table["v"].is_floating_point()) << toml_text(value);
    EXPECT_EQ(table["v"].value<double>(), value);
    EXPECT_EQ(std::signbit(*table["v"].value<double>()), std::signbit(value));
  }
  EXPECT_EQ(toml_text(5e-5), "5e-5");
  EXPECT_EQ(toml_text(1e22), "1e22");
  EXPECT_EQ(toml_text(3.0), "3.0");
}

}  // namespace
}  // namespace bertdist
