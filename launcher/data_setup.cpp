#include "data_setup.h"

#include "base/error.h"

namespace bertdist {

namespace {

TableFormat table_format(Config::Format format) {
  switch (format) {
    case Config::Format::automatic:
      return TableFormat::automatic;
    case Config::Format::csv:
      return TableFormat::csv;
    case Config::Format::tsv:
      return TableFormat::tsv;
    case Config::Format::jsonl:
      return TableFormat::jsonl;
  }
  throw Error(ExitCode::internal, "unknown format");
}

}  // namespace

TableOptions table_options(const Config& config) {
  return {.format = table_format(config.format),
          .delimiter = config.delimiter.empty() ? std::nullopt : std::optional(config.delimiter[0]),
          .quote = config.quote,
          .header = config.header,
          .encoding = config.encoding == Config::Encoding::latin_1 ? TextEncoding::latin1 : TextEncoding::utf8};
}

ColumnOptions column_options(const Config& config) {
  return {.text_column = config.text_column,
          .text_pair_column = config.text_pair_column.empty() ? std::nullopt : std::optional(config.text_pair_column),
          .label_column = config.label_column};
}

std::optional<LabelMap> known_labels(const Config& config, const BertConfig& model_config) {
  if (!config.id2label.empty()) return LabelMap(config.id2label);
  if (model_config.is_fine_tuned_classifier() && model_config.names_its_labels())
    return LabelMap(model_config.id2label);
  return std::nullopt;
}

TokenCachePaths prepare_caches(const Job& job, const ModelSource& source, std::optional<LabelMap> labels) {
  const Config& config = job.config;
  PrepareOptions options{
      .table = table_options(config),
      .columns = column_options(config),
      .labels = std::move(labels),
      .max_seq_length = source.max_seq_length,
      .truncation_strategy = truncation_strategy(config),
      .on_bad_row = config.on_bad_row == Config::BadRow::skip ? BadRowPolicy::skip : BadRowPolicy::fail,
      .max_rows = {},
      .token_cache_dir = config.token_cache_dir,
      .num_threads = job.num_threads};
  const auto prepare = [&](const std::string& file, std::optional<std::int64_t> max_rows) -> std::filesystem::path {
    if (file.empty()) return {};
    options.max_rows = max_rows;
    const std::filesystem::path cache = prepare_token_cache(file, options, source.tokenizer, job.communicator, job.log);
    // The first file, the training file where there is one, decides the labels of those that follow.
    if (!options.labels) options.labels = LabelMap(read_label_names(cache));
    return cache;
  };
  TokenCachePaths paths;
  paths.train = prepare(config.train_file, config.validation_split > 0 ? std::nullopt : config.max_train_samples);
  paths.validation = prepare(config.validation_file, config.max_eval_samples);
  paths.test = prepare(config.test_file, config.max_predict_samples);
  paths.labels = *options.labels;
  return paths;
}

TokenCaches open_caches(const TokenCachePaths& paths) {
  const auto open = [](const std::filesystem::path& path) -> std::shared_ptr<const TokenCache> {
    return path.empty() ? nullptr : std::make_shared<const TokenCache>(TokenCache::open(path));
  };
  return {.labels = paths.labels,
          .train = open(paths.train),
          .validation = open(paths.validation),
          .test = open(paths.test)};
}

}  // namespace bertdist
