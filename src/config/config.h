#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bertdist {

enum class Command { train, prepare, tokenize, evaluate, predict, sweep, replay };
enum class SweepAction { plan, run, submit, status, best, export_results };

std::string_view command_name(Command command);

// `bertdist [command] [--help] [--version] [--key value ...]`, taken apart; without a command it is train. `bertdist
// help [command]` asks for help too. Throws Error(configuration) for an unknown command.
struct Invocation {
  Command command = Command::train;
  SweepAction sweep_action = SweepAction::run;  // of `bertdist sweep ACTION`
  bool help = false;
  bool version = false;
  std::vector<std::string> arguments;  // what follows the command's name
};
Invocation parse_invocation(std::vector<std::string> arguments);

// Everything that decides a run. A member's name is its key in a TOML file and, after "--", on the command line; the
// names and, except where docs/configuration.md says otherwise, the defaults are those of Hugging Face's
// TrainingArguments and example scripts. The values below are the defaults before those that follow from other keys
// (the evaluation's strategy, the metric's direction, the cache folder) are filled in; what parse_config returns is
// complete and checked.
struct Config {
  enum class Format { automatic, csv, tsv, jsonl };  // automatic ("auto") goes by the file's extension
  enum class Encoding { utf_8, latin_1 };
  enum class BadRow { fail, skip };
  enum class Truncation { longest_first, only_first };
  enum class Scheduler { linear, cosine, constant, constant_with_warmup };
  enum class Strategy { no, steps, epoch };

  struct Freeze {
    enum class Kind { none, base, base_except_pooler, embeddings, first_layers, patterns };
    Kind kind = Kind::none;
    std::int64_t first_layers = 0;      // only for Kind::first_layers: the embeddings and this many encoder layers
    std::vector<std::string> patterns;  // only for Kind::patterns: names of parameters, with * and ?
    bool operator==(const Freeze&) const = default;
  };

  // Model
  std::string model_name_or_path;
  std::string problem_type = "single_label_classification";
  Freeze freeze;
  bool frozen_dropout = false;
  std::optional<double> classifier_dropout;    // unset: the model's own
  std::optional<std::int64_t> max_seq_length;  // unset: as many as the model has positions
  Truncation truncation_strategy = Truncation::longest_first;

  // Data. A column is a name, or a position from 0 written as a number.
  std::string train_file;
  std::string validation_file;
  std::string test_file;  // "-" is the standard input
  Format format = Format::automatic;
  std::string delimiter;             // one byte; empty: "," in CSV, a tab in TSV
  std::optional<std::string> quote;  // one byte, or empty: nothing is quoted; unset: "\"" in CSV, nothing in TSV
  bool header = true;
  Encoding encoding = Encoding::utf_8;
  std::string text_column = "text";
  std::string text_pair_column;  // empty: single texts
  std::string label_column = "label";
  std::vector<std::string> id2label;             // [id]; both are empty, or each is the other's inverse
  std::map<std::string, std::int64_t> label2id;  // ids are 0 ... size - 1
  double validation_split = 0;                   // share of train_file; 0 where there is a validation_file
  std::optional<std::int64_t> max_train_samples;
  std::optional<std::int64_t> max_eval_samples;
  std::optional<std::int64_t> max_predict_samples;
  BadRow on_bad_row = BadRow::fail;
  double feature_cache_max_gb = 20;  // of one file
  std::string token_cache_dir;       // never empty after parse_config

  // Output
  std::string output_dir;
  bool overwrite_output_dir = false;
  std::string output_file;  // empty: standard output
  std::vector<std::string> output_columns;
  std::optional<std::string> resume_from_checkpoint;  // a folder, or "latest"

  // Training
  std::int64_t per_device_train_batch_size = 8;  // rows a rank; without meaning where global_batch_size is set
  std::int64_t per_device_eval_batch_size = 8;
  std::optional<std::int64_t> global_batch_size;  // rows over all ranks and accumulation steps of one optimiser step
  std::int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  std::int64_t max_steps = -1;  // optimiser steps; above 0 it wins over num_train_epochs
  double learning_rate = 5e-5;
  Scheduler lr_scheduler_type = Scheduler::linear;
  double warmup_steps = 0;  // see num_warmup_steps()
  double warmup_ratio = 0;
  double weight_decay = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1;  // 0: no clipping
  double label_smoothing_factor = 0;
  std::int64_t seed = 42;

  // Evaluation, saving, logging
  Strategy eval_strategy = Strategy::no;
  std::int64_t eval_steps = 500;
  Strategy save_strategy = Strategy::steps;
  std::int64_t save_steps = 500;
  Strategy logging_strategy = Strategy::steps;
  std::int64_t logging_steps = 500;
  std::optional<std::int64_t> save_total_limit;
  bool load_best_model_at_end = false;
  std::string metric_for_best_model = "loss";  // without "eval_"
  bool greater_is_better = false;
  std::optional<std::int64_t> early_stopping_patience;  // evaluations

  // Machine
  std::string dtype = "auto";
  std::string device = "auto";
  std::optional<std::int64_t> num_threads;  // a rank's; unset: its share of the host's cores
  double comm_timeout_s = 120;
  double ddp_bucket_cap_mb = 25;  // MiB; 0: one bucket
  bool overlap_grad_reduce = true;
  bool grad_reduce_in_bf16 = false;

  // Debug mode. A key x of the table [debug] is debug_x here; they are in force where `debug` is set.
  bool debug = false;
  std::int64_t debug_world_size = 1;  // ranks to simulate in this one process
  std::optional<std::int64_t> debug_overfit_batches;
  bool debug_check_gradients = false;
  std::optional<std::string> debug_trace;  // a file

  bool operator==(const Config&) const = default;
};

// The configuration of one run from the arguments that follow the command's name: `--config FILE` (TOML), and every key
// as `--key value` or `--key=value`. The command line wins over the file, the file over the defaults. Checks all that
// can be checked without opening another file than FILE. Throws Error(configuration).
Config parse_config(Command command, const std::vector<std::string>& arguments);

// Warm-up steps of the learning rate in a run of this many steps: `warmup_steps` where it is not 0 (below 1 it is a
// share of all steps, as in transformers 5), otherwise `warmup_ratio`'s share, rounded up.
std::int64_t num_warmup_steps(const Config& config, std::int64_t num_training_steps);

// Every key with its value, as a TOML file that parse_config reads back to the same Config: doubles keep all their
// bits.
std::string to_toml(const Config& config);

// Every key that has a value, with it as TOML.
std::map<std::string, std::string> option_values(const Config& config);

// Whether this command makes use of the key.
bool uses_option(Command command, std::string_view key);

// What `bertdist COMMAND --help` prints, in at most 100 columns.
std::string help_text(Command command);

// docs/configuration.md: every key with its type, default and meaning.
std::string configuration_markdown();

}  // namespace bertdist
