#include "model_setup.h"

#include <fmt/format.h>

#include "base/error.h"
#include "model/pretrained.h"

namespace bertdist {

std::filesystem::path model_folder(const Config& config) {
  return resolve_model_folder(config.model_name_or_path);
}

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

TruncationStrategy truncation_strategy(const Config& config) {
  return config.truncation_strategy == Config::Truncation::only_first ? TruncationStrategy::only_first
                                                                      : TruncationStrategy::longest_first;
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

void require_fitting_vocabulary(const BertTokenizer& tokenizer, const BertConfig& model_config,
                                const std::filesystem::path& folder) {
  if (static_cast<std::int64_t>(tokenizer.vocab_size()) <= model_config.vocab_size) return;
  throw Error(ExitCode::model,
              fmt::format("the tokenizer in '{}' has {} ids, the model only {} embeddings", folder.string(),
                          tokenizer.vocab_size(), model_config.vocab_size),
              "tokenizer and weights are of different models; take both from one folder");
}

BertForSequenceClassification load_model(const Job& job, const std::filesystem::path& folder,
                                         const std::vector<std::string>& label_names) {
  LoadReport report;
  auto model = BertForSequenceClassification::from_pretrained(
      folder, {.id2label = label_names, .seed = static_cast<std::uint64_t>(job.config.seed)}, report);
  if (!report.initialized.empty()) {
    job.log.info("new, drawn from seed {}: {}", job.config.seed, fmt::join(report.initialized, ", "));
  }
  if (!report.unused.empty()) job.log.info("not used from '{}': {}", folder.string(), fmt::join(report.unused, ", "));
  return model;
}

BertForSequenceClassification load_trained_model(const std::filesystem::path& folder) {
  LoadReport report;
  auto model = BertForSequenceClassification::from_pretrained(folder, {}, report);
  if (report.initialized.empty()) return model;
  throw Error(ExitCode::model,
              fmt::format("'{}' has no trained classifier: {} are missing", folder.string(),
                          fmt::join(report.initialized, ", ")),
              "name the output_dir of a training, or one of its checkpoints, as model_name_or_path");
}

}  // namespace bertdist
