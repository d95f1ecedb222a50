#include <fmt/format.h>

#include <algorithm>

#include "config/option.h"

namespace bertdist {
namespace {

constexpr std::size_t kHelpWidth = 100;
constexpr std::size_t kHelpColumn = 36;
constexpr char kFixedSpace = '\x1f';  // a space where no line may end

struct CommandHelp {
  std::string_view usage;
  std::string_view purpose;
};

CommandHelp command_help(Command command) {
  switch (command) {
    case Command::train:
      return {"bertdist [train] --config FILE [--key value ...]",
              "Fine-tunes a BERT-family encoder to classify texts. Under mpirun all ranks train together. The other "
              "commands are prepare, tokenize, evaluate, predict, sweep and replay; bertdist COMMAND --help describes "
              "them. A "
              "file with a [sweep] table makes it a sweep."};
    case Command::prepare:
      return {"bertdist prepare --config FILE [--key value ...]",
              "Tokenises the files of a run into the token cache, where train, evaluate and predict find them."};
    case Command::tokenize:
      return {"bertdist tokenize --model_name_or_path DIR < LINES",
              "Prints the token ids of each line of the standard input as one JSON array."};
    case Command::evaluate:
      return {"bertdist evaluate --model_name_or_path DIR --test_file FILE [--key value ...]",
              "Computes the metrics of a fine-tuned checkpoint on a file with labels."};
    case Command::predict:
      return {"bertdist predict --model_name_or_path DIR --test_file FILE|- [--key value ...]",
              "Writes the label, the probabilities and the logits of each row of a file."};
    case Command::sweep:
      return {"bertdist sweep ACTION ...",
              "Trains many configurations, which a [sweep] table in the file describes, and compares them."};
    case Command::replay:
      return {"bertdist replay RUN --step K [--key value ...]",
              "Computes step K of a training again, in one process that simulates its ranks, and shows it in detail."};
  }
  return {};
}

// Adds words to `text`, whose last line is `column` long, and breaks lines so that they stay within the width.
void append_wrapped(std::string& text, std::string_view words, std::size_t column, std::size_t indent) {
  while (!words.empty()) {
    const std::string_view word = words.substr(0, words.find(' '));
    words.remove_prefix(std::min(words.size(), word.size() + 1));
    const bool first = column == indent;
    if (!first && column + 1 + word.size() > kHelpWidth) {
      text += '\n' + std::string(indent, ' ');
      column = indent;
    } else if (!first) {
      text += ' ';
      ++column;
    }
    text += word;
    std::replace(text.end() - static_cast<std::ptrdiff_t>(word.size()), text.end(), kFixedSpace, ' ');
    column += word.size();
  }
  text += '\n';
}

std::string default_sentence(const Option& option) {
  return option.default_text.empty() ? "" : fmt::format(" (default:\x1f{})", option.default_text);
}

// Names to choose from are worth a help line; what a FILE is, is not.
std::string choice_sentence(const Option& option) {
  const bool choices = option.placeholder == "NAME" && option.type.find(", ") != option.type.npos;
  return choices || option.placeholder == "METRIC" ? fmt::format(" One of {}.", option.type) : "";
}

void append_option_help(std::string& text, const Option& option) {
  std::string left = fmt::format("  --{} {}", option.name, option.placeholder);
  if (left.size() + 2 > kHelpColumn) left += '\n' + std::string(kHelpColumn, ' ');
  text += left.size() < kHelpColumn ? left + std::string(kHelpColumn - left.size(), ' ') : left;
  append_wrapped(text, option.help + choice_sentence(option) + default_sentence(option), kHelpColumn, kHelpColumn);
}

std::string escape_markdown(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|' || c == '*' || c == '<') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string command_names(Commands commands) {
  if (commands == kAllCommands) return "all";
  std::string names;
  for (const Command command :
       {Command::train, Command::prepare, Command::tokenize, Command::evaluate, Command::predict}) {
    if (!(commands & only(command))) continue;
    names += (names.empty() ? "" : ", ") + std::string(command_name(command));
  }
  return names;
}

constexpr std::string_view kMarkdownHead = R"(# Configuration

Generated from the options table (`src/config/options_table.cpp`) by the program `write_configuration`; a test compares
the two.

A run is described by a TOML file, by the command line, or by both: `bertdist train --config run.toml --seed 1`. The
command line wins over the file, and the file over the defaults. Keys that a command does not use are accepted, so that
one file serves training, evaluation and prediction; files that only other commands read need not exist. The names are
those of Hugging Face's `TrainingArguments` and example scripts, and so are the defaults, with these exceptions: where
there is a validation set, a run evaluates and saves each epoch and ends with the best model; `logging_strategy` follows
an `eval_strategy` of `epoch`, so that each evaluation has a training loss beside it; `save_steps` follows `eval_steps`.
The whole configuration, defaults included, is saved with the run.

## In a file

```toml
model_name_or_path = "bert-base-uncased"
train_file = "data/train.csv"
id2label = ["no", "yes"]            # or {0 = "no", 1 = "yes"}
freeze = {first_layers = 4}         # or "base", or ["bert.encoder.layer.0.*"]
```

An unknown key, a value of the wrong type or out of range, and keys that exclude each other (`global_batch_size` and
`per_device_train_batch_size`; `validation_file` and a `validation_split`) end the program with exit code 2 before anything
is loaded; the message names file, line and column. A path that begins with `~/` is in your home folder; a relative one
starts at the folder that the program runs in.

## On the command line

| written | means |
| --- | --- |
| `--learning_rate 2e-4`, `--learning_rate=2e-4` | a number; text needs no quotes of its own |
| `--overwrite_output_dir`, `--overwrite_output_dir true` | a flag that is on; `false` turns it off |
| `--freeze.first_layers 4`, `--id2label.0 no --id2label.1 yes` | a table by its entries; they replace the file's table |
| `--freeze '{first_layers = 4}'`, `--output_columns '["id"]'` | a table or list, as TOML |

A key that is given twice takes its last value. `bertdist COMMAND --help` lists the keys that a command uses.
)";

}  // namespace

constexpr std::string_view kSweepActionsHelp = R"(
Actions:
  plan --config FILE                List all trials without running any.
    --simulate CURVES.jsonl         Say which of these recorded trials [sweep.early_terminate] stops, and when.
    --output_file FILE              Write the trials as .csv or .jsonl.
  run --config FILE                 Train the trials that have no result yet; the same as bertdist --config FILE.
    --trials LIST                   Only these: 17, 10-19 or 3,7-9.
    --trials_per_task N             In a SLURM job array: task i runs the trials from i * N on (default 1).
  submit --config FILE              Tokenise the files, and submit slurm/sweep.sbatch as a SLURM job array.
    --trials LIST                   Only the tasks of these.
    --trials_per_task N             Trials of one task of the array (default 1).
    -- OPTION...                    Options of sbatch, such as --partition=batch --time=01:00:00.
  status DIR                        What is finished, failed and missing, and the commands that run what is missing.
  best DIR                          The best trial, its parameters and its model.
  export DIR [--output_file FILE]   All results as .csv or .jsonl; without a file as CSV on standard output.

plan, run and submit take the keys of bertdist train --help too, which win over the file. DIR is
the sweep's output_dir. The [sweep] table is described in docs/sweeps.md.
)";

constexpr std::string_view kReplayHelp = R"(
  RUN                               The output_dir of a training, finished or not. Nothing is written there.
  --step K                          The optimiser step, counted from 1. The replay starts at the newest
                                    checkpoint before it, or at the beginning.

The configuration is the one that the run saved. Keys of bertdist train --help win over it, such as
--train_file where the file has moved. docs/debugging.md shows what is printed.
)";

std::string help_text(Command command) {
  const auto [usage, purpose] = command_help(command);
  std::string text = fmt::format("Usage: {}\n\n", usage);
  append_wrapped(text, purpose, 0, 0);
  if (command == Command::sweep) return text.append(kSweepActionsHelp);
  if (command == Command::replay) return text.append(kReplayHelp);
  text += "\nKeys may stand in a TOML file, as key = value, or on the command line, which wins:\n";
  const auto append_line = [&](std::string_view left, std::string_view help) {
    text += fmt::format("  {:<{}}", left, kHelpColumn - 2);
    append_wrapped(text, help, kHelpColumn, kHelpColumn);
  };
  append_line("--config FILE", "The TOML file.");
  append_line("--help", "Print this text and end.");
  append_line("--version", "Print the version and end.");
  std::string_view section;
  for (const Option& option : options()) {
    if (!(option.commands & only(command))) continue;
    if (option.section != section) text += fmt::format("\n{}\n", option.section);
    section = option.section;
    append_option_help(text, option);
  }
  return text;
}

std::string configuration_markdown() {
  std::string text(kMarkdownHead);
  std::string_view section;
  for (const Option& option : options()) {
    if (option.section != section) {
      text +=
          fmt::format("\n## {}\n\n| key | value | default | meaning | commands |\n| --- | --- | --- | --- | --- |\n",
                      option.section);
    }
    section = option.section;
    text +=
        fmt::format("| `{}` | {} | {} | {} | {} |\n", option.name, escape_markdown(option.type),
                    escape_markdown(option.default_text), escape_markdown(option.help), command_names(option.commands));
  }
  return text;
}

std::map<std::string, std::string> option_values(const Config& config) {
  std::map<std::string, std::string> values;
  for (const Option& option : options()) {
    if (const auto value = option.write(config)) values.emplace(option.name, *value);
  }
  return values;
}

std::string to_toml(const Config& config) {
  std::string text;
  std::string_view section;
  for (const Option& option : options()) {
    if (option.section != section) text += fmt::format("{}# {}\n", text.empty() ? "" : "\n", option.section);
    section = option.section;
    if (option.name == "debug") continue;  // TOML has it as a table or as a value; its keys switch it on
    if (const auto value = option.write(config)) text += fmt::format("{} = {}\n", option.name, *value);
  }
  return text;
}

}  // namespace bertdist
