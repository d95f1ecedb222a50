#pragma once

#include <cstddef>
#include <filesystem>

#include "config/config.h"
#include "pretrained/bert_config.h"
#include "pretrained/freeze_spec.h"
#include "tokenizer/bert_tokenizer.h"

namespace bertdist {

// What every command reads first of a model's folder; the weights are not among it, and no torch is needed.
struct ModelSource {
  std::filesystem::path folder;
  BertTokenizer tokenizer;
  BertConfig config;
  std::size_t max_seq_length;  // the run's: what was asked for, at most the model's positions
};

// Not collective. Throws Error(model) where the folder lacks something or its tokenizer has ids that the model has not,
// Error(configuration) for a max_seq_length beyond the model's positions.
ModelSource open_model_source(const Config& config);

// The configuration's freeze, in the model's own terms.
FreezeSpec freeze_spec(const Config& config);

// What a config.json alone can tell: throws Error(configuration) for a max_seq_length beyond the model's positions and
// for a freeze that it has no such layers or parameters for, or that leaves nothing to train.
void check_with_model(const Config& config, const BertConfig& model_config);

TruncationStrategy truncation_strategy(const Config& config);

}  // namespace bertdist
