#include "model_source.h"

#include <fmt/core.h>

#include <utility>

#include "base/error.h"
#include "pretrained/model_folder.h"

namespace bertdist {

namespace {

std::size_t max_seq_length(const Config& config, const BertConfig& model_config) {
  const std::int64_t positions = model_config.max_position_embeddings;
  const std::int64_t length = config.max_seq_length.value_or(positions);
  if (length > positions) {
    throw Error(ExitCode::configuration,
                fmt::format("max_seq_length = {} is over the {} positions of '{}'", length, positions,
                            config.model_name_or_path),
                fmt::format("set max_seq_length to at most {}; longer texts are truncated", positions));
  }
  return static_cast<std::size_t>(length);
}

void require_fitting_vocabulary(const BertTokenizer& tokenizer, const BertConfig& model_config,
                                const std::filesystem::path& folder) {
  if (static_cast<std::int64_t>(tokenizer.vocab_size()) <= model_config.vocab_size) return;
  throw Error(ExitCode::model,
              fmt::format("the tokenizer in '{}' has {} ids, the model only {} embeddings", folder.string(),
                          tokenizer.vocab_size(), model_config.vocab_size),
              "tokenizer and weights are of different models; take both from one folder");
}

void require_types_for_pairs(const Config& config, const BertConfig& model_config) {
  if (config.text_pair_column.empty() || model_config.type_vocab_size > 1) return;
  throw Error(
      ExitCode::model,
      fmt::format("'{}' has one token type: it cannot tell the texts of a pair apart", config.model_name_or_path),
      "leave text_pair_column out, or start from a model whose config.json has type_vocab_size = 2");
}

}  // namespace

ModelSource open_model_source(const Config& config) {
  std::filesystem::path folder = resolve_model_folder(config.model_name_or_path);
  BertTokenizer tokenizer = BertTokenizer::from_pretrained(folder);
  BertConfig model_config = BertConfig::from_file(folder / "config.json");
  require_fitting_vocabulary(tokenizer, model_config, folder);
  require_types_for_pairs(config, model_config);
  const std::size_t max_tokens = max_seq_length(config, model_config);
  return {std::move(folder), std::move(tokenizer), std::move(model_config), max_tokens};
}

FreezeSpec freeze_spec(const Config& config) {
  const auto kind = [&] {
    switch (config.freeze.kind) {
      case Config::Freeze::Kind::none:
        return FreezeSpec::Kind::none;
      case Config::Freeze::Kind::base:
        return FreezeSpec::Kind::base;
      case Config::Freeze::Kind::base_except_pooler:
        return FreezeSpec::Kind::base_except_pooler;
      case Config::Freeze::Kind::embeddings:
        return FreezeSpec::Kind::embeddings;
      case Config::Freeze::Kind::first_layers:
        return FreezeSpec::Kind::first_layers;
      case Config::Freeze::Kind::patterns:
        return FreezeSpec::Kind::patterns;
    }
    throw Error(ExitCode::internal, "unknown kind of freezing");
  };
  return {.kind = kind(), .first_layers = config.freeze.first_layers, .patterns = config.freeze.patterns};
}

void check_with_model(const Config& config, const BertConfig& model_config) {
  max_seq_length(config, model_config);
  check_freezing(model_config, freeze_spec(config));
}

TruncationStrategy truncation_strategy(const Config& config) {
  return config.truncation_strategy == Config::Truncation::only_first ? TruncationStrategy::only_first
                                                                      : TruncationStrategy::longest_first;
}

}  // namespace bertdist
