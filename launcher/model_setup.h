#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "commands.h"
#include "data/label_map.h"
#include "model/bert.h"
#include "model/freezing.h"
#include "tokenizer/bert_tokenizer.h"

namespace bertdist {

// What the configuration says about a model, in the model's own terms. The functions are not collective.

std::filesystem::path model_folder(const Config& config);

// The run's max_seq_length: what was asked for, at most the model's positions. Throws Error(configuration) beyond them.
std::size_t max_seq_length(const Config& config, const BertConfig& model_config);

TruncationStrategy truncation_strategy(const Config& config);

FreezeSpec freeze_spec(const Config& config);

// Throws Error(model) where the tokenizer has ids that the model's vocabulary does not.
void require_fitting_vocabulary(const BertTokenizer& tokenizer, const BertConfig& model_config,
                                const std::filesystem::path& folder);

// Loads the weights and tells the user what was drawn from the seed and what was left unused. Labels of `label_names`,
// the folder's own where that is empty.
BertForSequenceClassification load_model(const Job& job, const std::filesystem::path& folder,
                                         const std::vector<std::string>& label_names);

// For evaluate and predict. Throws Error(model) where the folder lacks the classifier's weights: drawn from a seed they
// would be of no use.
BertForSequenceClassification load_trained_model(const std::filesystem::path& folder);

}  // namespace bertdist
