#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "config/given.h"

namespace bertdist {
namespace {

using Strategy = Config::Strategy;

class Validator {
 public:
  Validator(const Config& config, const Given& given) : config_(config), given_(given) {}

  void all_commands() const {
    exclude("global_batch_size", "per_device_train_batch_size");
    if (!config_.delimiter.empty() && config_.delimiter == config_.quote.value_or("\"")) {
      fail("delimiter", "the delimiter and the quote are the same character", "choose two different ones");
    }
    if (config_.warmup_steps > 1 && config_.warmup_steps != std::floor(config_.warmup_steps)) {
      fail("warmup_steps", fmt::format("{} is not a whole number of steps", config_.warmup_steps),
           "below 1 it is a share of all steps");
    }
    if (config_.global_batch_size && *config_.global_batch_size % config_.gradient_accumulation_steps != 0) {
      fail("global_batch_size",
           fmt::format("{} rows cannot be dealt to {} batches of the same size", *config_.global_batch_size,
                       config_.gradient_accumulation_steps),
           "make it a multiple of gradient_accumulation_steps");
    }
  }

  void train() const {
    require("model_name_or_path", config_.model_name_or_path, "the checkpoint to fine-tune");
    require("train_file", config_.train_file, "the rows to train on");
    require("output_dir", config_.output_dir, "the folder for the model and its checkpoints");
    one_validation_set();
    files_are_files(Command::train);
    if (config_.eval_strategy != Strategy::no && !has_validation_set(config_)) {
      fail("eval_strategy", "there is nothing to evaluate on",
           "give a validation_file, or a validation_split such as 0.1");
    }
    if (config_.load_best_model_at_end && !saves_each_evaluation(config_)) {
      fail("load_best_model_at_end", "the best evaluation may have no checkpoint",
           "save_strategy and eval_strategy must be the same, epoch or steps; by steps, save_steps must be a multiple "
           "of eval_steps");
    }
    if (config_.early_stopping_patience && !config_.load_best_model_at_end) {
      fail("early_stopping_patience", "it needs load_best_model_at_end, or the model of the last evaluation is kept",
           "give a validation set and set load_best_model_at_end = true");
    }
  }

  void prepare() const {
    require("model_name_or_path", config_.model_name_or_path, "the checkpoint whose tokenizer to use");
    if (config_.train_file.empty() && config_.validation_file.empty() && config_.test_file.empty()) {
      fail_missing("train_file, validation_file or test_file", "train_file", "a file to tokenise");
    }
    one_validation_set();
    files_are_files(Command::prepare);
  }

  void tokenize() const {
    require("model_name_or_path", config_.model_name_or_path, "the checkpoint whose tokenizer to use");
  }

  void evaluate() const {
    require("model_name_or_path", config_.model_name_or_path, "the checkpoint to evaluate");
    if (config_.validation_file.empty() && config_.test_file.empty()) {
      fail_missing("validation_file or test_file", "test_file", "the rows to evaluate on");
    }
    files_are_files(Command::evaluate);
  }

  void predict() const {
    require("model_name_or_path", config_.model_name_or_path, "the checkpoint to predict with");
    require("test_file", config_.test_file, "the rows to label, - for the standard input");
    const std::string& file = config_.output_file;
    if (!file.empty() && !file.ends_with(".csv") && !file.ends_with(".jsonl")) {
      fail("output_file", fmt::format("{} is neither .csv nor .jsonl", file), "the extension decides the format");
    }
    output_columns_are_free();
  }

 private:
  [[noreturn]] void fail(std::string_view key, const std::string& what, const std::string& hint) const {
    const auto place = given_.find(key);
    throw Error(ExitCode::configuration, (place == given_.end() ? std::string(key) : place->second) + ": " + what,
                hint);
  }

  [[noreturn]] void fail_missing(std::string_view keys, std::string_view example, std::string_view meaning) const {
    throw Error(ExitCode::configuration, fmt::format("{} is missing: {}", keys, meaning),
                fmt::format("give it in the --config file or as --{} VALUE", example));
  }

  void require(std::string_view key, const std::string& value, std::string_view meaning) const {
    if (value.empty()) fail_missing(key, key, meaning);
  }

  void exclude(std::string_view first, std::string_view second) const {
    const auto a = given_.find(first);
    const auto b = given_.find(second);
    if (a == given_.end() || b == given_.end()) return;
    throw Error(ExitCode::configuration, fmt::format("{} and {} exclude each other", a->second, b->second),
                "give one of the two");
  }

  // Each becomes a key beside those of the prediction.
  void output_columns_are_free() const {
    std::set<std::string> taken = {"row", "label", "probabilities", "logits"};
    for (const std::string& column : config_.output_columns) {
      if (taken.insert(column).second) continue;
      const bool twice = std::count(config_.output_columns.begin(), config_.output_columns.end(), column) > 1;
      fail("output_columns",
           twice ? fmt::format("\"{}\" is named twice", column)
                 : fmt::format("\"{}\" is a key of each prediction already", column),
           twice ? "name each column once"
                 : "name the column by its position from 0, such as \"1\": it is then repeated under that number");
    }
  }

  void one_validation_set() const {
    if (config_.validation_split > 0 && !config_.validation_file.empty()) {
      exclude("validation_split", "validation_file");
    }
  }

  // Ranks read a file's parts again and again, which a stream does not allow.
  void files_are_files(Command command) const {
    const auto check = [&](std::string_view key, const std::string& file) {
      if (file == "-" && uses_option(command, key))
        fail(key, "only predict's test_file can be the standard input", "give a file");
    };
    check("train_file", config_.train_file);
    check("validation_file", config_.validation_file);
    check("test_file", config_.test_file);
  }

  const Config& config_;
  const Given& given_;
};

}  // namespace

void validate(Command command, const Config& config, const Given& given) {
  const Validator validator(config, given);
  validator.all_commands();
  switch (command) {
    case Command::train:
      return validator.train();
    case Command::prepare:
      return validator.prepare();
    case Command::tokenize:
      return validator.tokenize();
    case Command::evaluate:
      return validator.evaluate();
    case Command::predict:
      return validator.predict();
    case Command::sweep:
    case Command::replay:
      break;  // each trial is validated as what it is, a training, and so is what is replayed
  }
}

}  // namespace bertdist
