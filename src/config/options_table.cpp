#include <algorithm>

#include "config/option.h"

namespace bertdist {
namespace {

constexpr Commands kTrain = only(Command::train);
constexpr Commands kEvaluate = only(Command::evaluate);
constexpr Commands kPredict = only(Command::predict);
constexpr Commands kTrains = kTrain | only(Command::prepare);
constexpr Commands kScores = kTrains | kEvaluate;              // reads texts and their labels
constexpr Commands kReads = kScores | kPredict;                // reads texts
constexpr Commands kComputes = kTrain | kEvaluate | kPredict;  // runs the model

constexpr Choices<Config::Strategy>::value_type kStrategies[] = {
    {"no", Config::Strategy::no}, {"steps", Config::Strategy::steps}, {"epoch", Config::Strategy::epoch}};
Choices<Config::Strategy> strategies() {
  return {std::begin(kStrategies), std::end(kStrategies)};
}

using Options = std::vector<Option>;

Options model_options() {
  constexpr auto section = "Model";
  return {
      path_option({"model_name_or_path", section, kAllCommands,
                   "The checkpoint to start from: a folder with config.json, model.safetensors and the tokenizer's "
                   "files, or a name in the Hugging Face hub cache."},
                  &Config::model_name_or_path, "DIR|NAME"),
      word_option({"problem_type", section, kComputes, "What the classifier learns: one label a text."},
                  &Config::problem_type, {"single_label_classification"}, {"multi_label_classification", "regression"}),
      freeze_option({"freeze", section, kTrain,
                     "The parameters that stay as they are: a part of the model by its name, the embeddings and the "
                     "first k layers with {first_layers=k}, or a list of patterns of parameter names such as "
                     "[\"bert.encoder.*\"], with * and ?."},
                    &Config::freeze),
      flag_option(
          {"frozen_dropout", section, kTrain,
           "Keep dropout switched on in frozen embeddings and frozen layers, as the usual Python scripts do. It "
           "costs speed: the frozen part must then run in every epoch."},
          &Config::frozen_dropout),
      optional_number_option({"classifier_dropout", section, kTrain,
                              "Share of the pooled output that dropout sets to 0 before the classifier."},
                             &Config::classifier_dropout, from_and_below(0, 1))
          .defaults_to("the model's classifier_dropout or hidden_dropout_prob"),
      optional_integer_option({"max_seq_length", section, kAllCommands,
                               "Tokens of a row, special tokens included; longer rows are truncated."},
                              &Config::max_seq_length, at_least(3))
          .defaults_to("the model's positions"),
      choice_option({"truncation_strategy", section, kAllCommands,
                     "Where a pair of texts is too long: shorten the longer text first, or the first one only."},
                    &Config::truncation_strategy,
                    Choices<Config::Truncation>{{"longest_first", Config::Truncation::longest_first},
                                                {"only_first", Config::Truncation::only_first}}),
  };
}

Options file_options() {
  constexpr auto section = "Data";
  return {
      path_option({"train_file", section, kTrains, "The rows to train on: CSV, TSV or JSONL."}, &Config::train_file,
                  "FILE"),
      path_option({"validation_file", section, kScores, "The rows to evaluate on while training."},
                  &Config::validation_file, "FILE"),
      path_option({"test_file", section, kReads,
                   "train: the rows to evaluate the final model on, once; predict: the rows to label, - for the "
                   "standard input."},
                  &Config::test_file, "FILE"),
      number_option({"validation_split", section, kTrains,
                     "Without a validation_file: the share of train_file's rows to evaluate on instead of training, "
                     "with the same share of each label, drawn by the seed."},
                    &Config::validation_split, from_and_below(0, 1)),
      choice_option({"format", section, kReads, "The files' format; auto goes by a file's extension."}, &Config::format,
                    Choices<Config::Format>{{"auto", Config::Format::automatic},
                                            {"csv", Config::Format::csv},
                                            {"tsv", Config::Format::tsv},
                                            {"jsonl", Config::Format::jsonl}}),
      byte_option({"delimiter", section, kReads, "What stands between two columns of CSV or TSV."}, &Config::delimiter)
          .defaults_to("\",\" in CSV, \"\\t\" in TSV"),
      optional_byte_option({"quote", section, kReads, "What quotes a field of CSV or TSV; \"\" where nothing is."},
                           &Config::quote)
          .defaults_to("'\"' in CSV, nothing in TSV"),
      flag_option({"header", section, kReads,
                   "The first line of CSV or TSV names the columns. Without it columns go by position."},
                  &Config::header),
      choice_option(
          {"encoding", section, kReads, "The files' encoding."}, &Config::encoding,
          Choices<Config::Encoding>{{"utf-8", Config::Encoding::utf_8}, {"latin-1", Config::Encoding::latin_1}}),
      column_option({"text_column", section, kReads, "The column of the texts."}, &Config::text_column),
      column_option({"text_pair_column", section, kReads, "The column of the second texts, where rows are pairs."},
                    &Config::text_pair_column),
      column_option({"label_column", section, kScores, "The column of the labels."}, &Config::label_column),
  };
}

Options row_options() {
  constexpr auto section = "Data";
  return {
      id2label_option(
          {"id2label", section, kTrains,
           "The labels' names: [\"no\", \"yes\"], or {0 = \"no\", 1 = \"yes\"}. Without names whole numbers "
           "from 0 are ids, and other labels are numbered in sorted order."})
          .defaults_to("from a fine-tuned checkpoint, or from the data"),
      label2id_option({"label2id", section, kTrains, "The same the other way round: {no = 0, yes = 1}."})
          .defaults_to("from id2label"),
      optional_integer_option({"max_train_samples", section, kTrains, "Read at most so many rows of train_file."},
                              &Config::max_train_samples, at_least(1))
          .defaults_to("all"),
      optional_integer_option({"max_eval_samples", section, kScores, "Read at most so many rows of validation_file."},
                              &Config::max_eval_samples, at_least(1))
          .defaults_to("all"),
      optional_integer_option({"max_predict_samples", section, kReads, "Read at most so many rows of test_file."},
                              &Config::max_predict_samples, at_least(1))
          .defaults_to("all"),
      choice_option(
          {"on_bad_row", section, kReads,
           "A row that cannot be read ends the run, or is left out, counted and listed in a file beside the cache "
           "or, by predict, beside output_file."},
          &Config::on_bad_row, Choices<Config::BadRow>{{"fail", Config::BadRow::fail}, {"skip", Config::BadRow::skip}}),
      number_option({"feature_cache_max_gb", section, kTrain,
                     "What frozen layers make of a split's rows is kept in a file of token_cache_dir for the next run, "
                     "if it is not larger than this many GB; what is larger stays in memory up to 256 MiB, and is "
                     "otherwise computed in each epoch."},
                    &Config::feature_cache_max_gb, at_least(0)),
      path_option({"token_cache_dir", section, kScores, "Where tokenised files are kept for the next run."},
                  &Config::token_cache_dir, "DIR")
          .defaults_to("$XDG_CACHE_HOME/bertdist, or ~/.cache/bertdist"),
  };
}

Options output_options() {
  constexpr auto section = "Output";
  return {
      path_option({"output_dir", section, kTrain | kEvaluate,
                   "train: the model, its checkpoints and logs; evaluate: eval_results.json."},
                  &Config::output_dir, "DIR"),
      flag_option({"overwrite_output_dir", section, kTrain,
                   "Replace the run that output_dir holds: its checkpoints, model and results are removed."},
                  &Config::overwrite_output_dir),
      optional_path_option({"resume_from_checkpoint", section, kTrain,
                            "Go on from this checkpoint folder, or from output_dir's newest with \"latest\"."},
                           &Config::resume_from_checkpoint, "DIR"),
      path_option({"output_file", section, kPredict, "Where the predictions go; .csv or .jsonl decides their format."},
                  &Config::output_file, "FILE")
          .defaults_to("standard output, as JSONL"),
      columns_option({"output_columns", section, kPredict,
                      "Columns of test_file to repeat beside the predictions, such as [\"id\"]."},
                     &Config::output_columns),
  };
}

Options batch_options() {
  constexpr auto section = "Training";
  return {
      integer_option({"per_device_train_batch_size", section, kTrain, "Rows of one rank's batch."},
                     &Config::per_device_train_batch_size, between(1, 1 << 20)),
      integer_option({"per_device_eval_batch_size", section, kTrain,
                      "The same in evaluations while training. Batches have 512 tokens instead where the whole "
                      "encoder is frozen and its output is not kept, and in evaluate and predict."},
                     &Config::per_device_eval_batch_size, between(1, 1 << 20)),
      optional_integer_option({"global_batch_size", section, kTrain,
                               "Instead of per_device_train_batch_size: rows of one optimiser step, over all ranks and "
                               "accumulated batches, whatever the number of ranks."},
                              &Config::global_batch_size, between(1, 1 << 24)),
      integer_option(
          {"gradient_accumulation_steps", section, kTrain,
           "Batches of one optimiser step. Losses and gradients are means over all its rows; transformers' "
           "Trainer 5 sums the means of BERT's batches instead, and so reports both this many times as large."},
          &Config::gradient_accumulation_steps, between(1, 1 << 20)),
      number_option({"num_train_epochs", section, kTrain, "How often to go through the training rows."},
                    &Config::num_train_epochs, {.min = 0, .max = 1e6, .without_min = true}),
      integer_option({"max_steps", section, kTrain, "Above 0: optimiser steps, instead of num_train_epochs."},
                     &Config::max_steps, at_least(-1)),
      integer_option({"seed", section, kTrains, "Decides the order of rows, dropout, a new head and validation_split."},
                     &Config::seed, at_least(0)),
  };
}

Options optimizer_options() {
  constexpr auto section = "Training";
  return {
      number_option({"learning_rate", section, kTrain, "AdamW's learning rate, at its highest."},
                    &Config::learning_rate, at_least(0)),
      choice_option({"lr_scheduler_type", section, kTrain, "How the learning rate falls after the warm-up."},
                    &Config::lr_scheduler_type,
                    Choices<Config::Scheduler>{{"linear", Config::Scheduler::linear},
                                               {"cosine", Config::Scheduler::cosine},
                                               {"constant", Config::Scheduler::constant},
                                               {"constant_with_warmup", Config::Scheduler::constant_with_warmup}}),
      number_option({"warmup_steps", section, kTrain,
                     "Steps in which the learning rate rises from 0; below 1, a share of all steps."},
                    &Config::warmup_steps, at_least(0)),
      number_option({"warmup_ratio", section, kTrain, "The same as a share of all steps, where warmup_steps is 0."},
                    &Config::warmup_ratio, between(0, 1)),
      number_option({"weight_decay", section, kTrain, "AdamW's, for all but biases and LayerNorm."},
                    &Config::weight_decay, at_least(0)),
      number_option({"adam_beta1", section, kTrain, "AdamW's decay of the mean of gradients."}, &Config::adam_beta1,
                    from_and_below(0, 1)),
      number_option({"adam_beta2", section, kTrain, "AdamW's decay of the mean of their squares."}, &Config::adam_beta2,
                    from_and_below(0, 1)),
      number_option({"adam_epsilon", section, kTrain, "AdamW's guard against a division by 0."}, &Config::adam_epsilon,
                    at_least(0)),
      number_option({"max_grad_norm", section, kTrain, "Longer gradients are shortened to this; 0: never."},
                    &Config::max_grad_norm, at_least(0)),
      number_option({"label_smoothing_factor", section, kTrain,
                     "Share of a label that is spread over all labels, in the losses of training and evaluation."},
                    &Config::label_smoothing_factor, between(0, 1)),
  };
}

Options evaluation_options() {
  constexpr auto section = "Evaluation, saving, logging";
  return {
      choice_option({"eval_strategy", section, kTrain, "When to evaluate on the validation set."},
                    &Config::eval_strategy, strategies())
          .defaults_to("epoch where there is a validation set, otherwise no"),
      integer_option({"eval_steps", section, kTrain, "Optimiser steps between evaluations, by steps."},
                     &Config::eval_steps, at_least(1))
          .defaults_to("logging_steps"),
      choice_option({"save_strategy", section, kTrain, "When to write a checkpoint."}, &Config::save_strategy,
                    strategies())
          .defaults_to("eval_strategy, or steps where that is no"),
      integer_option({"save_steps", section, kTrain, "Optimiser steps between checkpoints, by steps."},
                     &Config::save_steps, at_least(1))
          .defaults_to("500, or eval_steps where evaluation is by steps"),
      choice_option({"logging_strategy", section, kTrain, "When to report the training loss."},
                    &Config::logging_strategy, strategies())
          .defaults_to("epoch where eval_strategy is epoch, otherwise steps"),
      integer_option({"logging_steps", section, kTrain, "Optimiser steps between reports, by steps."},
                     &Config::logging_steps, at_least(1)),
      optional_integer_option(
          {"save_total_limit", section, kTrain, "Keep so many checkpoints, the newest; the best one is never deleted."},
          &Config::save_total_limit, at_least(1))
          .defaults_to("all"),
      flag_option({"load_best_model_at_end", section, kTrain,
                   "End with the checkpoint that evaluated best instead of the last one."},
                  &Config::load_best_model_at_end)
          .defaults_to("true where each evaluation has its checkpoint, otherwise false"),
      metric_option({"metric_for_best_model", section, kTrain, "What decides which checkpoint is the best."},
                    &Config::metric_for_best_model, {"loss", "accuracy", "auc", "f1", "precision", "recall", "mcc"}),
      flag_option({"greater_is_better", section, kTrain, "Whether more of metric_for_best_model is better."},
                  &Config::greater_is_better)
          .defaults_to("false for loss, otherwise true"),
      optional_integer_option({"early_stopping_patience", section, kTrain,
                               "End training after so many evaluations in a row without a new best; those without a "
                               "checkpoint do not count."},
                              &Config::early_stopping_patience, at_least(1)),
  };
}

Options machine_options() {
  constexpr auto section = "Machine";
  return {
      word_option({"dtype", section, kComputes,
                   "The numbers of the layers' matrix products; weights, gradients and all else are float32. auto: "
                   "bfloat16 in a training's frozen layers where the processor has instructions for it, and in all "
                   "layers of a training on a GPU that has it (compute capability 8.0), otherwise float32, and float32 "
                   "in evaluate and predict. bfloat16: also in layers that are trained."},
                  &Config::dtype, {"auto", "float32", "bfloat16"}, {"float16", "bf16", "fp16"}),
      word_option({"device", section, kComputes,
                   "Where the model runs; auto takes what is there. cuda: each rank on an NVIDIA GPU of its own. A "
                   "sweep runs on CPUs."},
                  &Config::device, {"auto", "cpu", "cuda"}),
      optional_integer_option({"num_threads", section, kReads, "Threads of one rank."}, &Config::num_threads,
                              between(1, 1024))
          .defaults_to("the rank's share of the host's cores"),
      number_option(
          {"comm_timeout_s", section, kReads,
           "Seconds without a sign of progress from a rank that others wait for, after which the job is ended."},
          &Config::comm_timeout_s, above(0)),
      number_option(
          {"ddp_bucket_cap_mb", section, kTrain,
           "The ranks sum gradients in buckets of about so many MiB, the first one of 1 MiB; 0: all at once."},
          &Config::ddp_bucket_cap_mb, at_least(0)),
      flag_option({"overlap_grad_reduce", section, kTrain,
                   "Sum a bucket as soon as backward has made its gradients, while it makes the others."},
                  &Config::overlap_grad_reduce),
      flag_option({"grad_reduce_in_bf16", section, kTrain,
                   "Ranks exchange the gradients of matrices rounded to bfloat16: half the bytes, and sums of eight "
                   "significant bits. Those of biases and LayerNorms stay float32, and nothing changes for one rank."},
                  &Config::grad_reduce_in_bf16),
  };
}

Options debug_options() {
  constexpr auto section = "Debug";
  return {
      flag_option({"debug", section, kTrain,
                   "Train in one process with deterministic kernels and the checks of docs/debugging.md. In a file the "
                   "table [debug], whose keys follow, switches it on."},
                  &Config::debug),
      debug_option(integer_option(
          {"debug.world_size", section, kTrain,
           "Ranks to simulate: the steps are those of as many MPI ranks with as many threads each, to the bit."},
          &Config::debug_world_size, between(1, 1 << 16))),
      debug_option(optional_integer_option(
          {"debug.overfit_batches", section, kTrain,
           "Train on the first so many batches again and again, without dropout, until their loss is below 0.01; exit "
           "code 11 where it does not get there. Writes no model."},
          &Config::debug_overfit_batches, at_least(1))),
      debug_option(flag_option(
          {"debug.check_gradients", section, kTrain,
           "First compare the gradient of each trained parameter with finite differences, on a narrow copy of the "
           "model; exit code 12 where one is wrong."},
          &Config::debug_check_gradients)),
      debug_option(optional_path_option(
          {"debug.trace", section, kTrain,
           "Write a trace of a few steps, to be looked at in Perfetto or chrome://tracing, into this file."},
          &Config::debug_trace, "FILE")),
  };
}

}  // namespace

const std::vector<Option>& options() {
  static const std::vector<Option> table = [] {
    Options all;
    for (Options part : {model_options(), file_options(), row_options(), output_options(), batch_options(),
                         optimizer_options(), evaluation_options(), machine_options(), debug_options()}) {
      std::move(part.begin(), part.end(), std::back_inserter(all));
    }
    // parse_config refuses the two together, so what is saved must not have both.
    const auto per_device =
        std::find_if(all.begin(), all.end(), [](const Option& o) { return o.name == "per_device_train_batch_size"; });
    per_device->write = [write = per_device->write](const Config& config) {
      return config.global_batch_size ? std::nullopt : write(config);
    };
    return all;
  }();
  return table;
}

const Option* find_option(std::string_view name) {
  const auto& all = options();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Option& option) { return option.name == name; });
  return found == all.end() ? nullptr : &*found;
}

const Option* option_of_key(std::string_view key) {
  const Option* own = find_option(key);
  return own != nullptr ? own : find_option(key.substr(0, key.find('.')));
}

std::vector<std::string_view> option_names() {
  std::vector<std::string_view> names;
  for (const Option& option : options()) names.push_back(option.name);
  return names;
}

}  // namespace bertdist
