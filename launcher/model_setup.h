#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "job.h"
#include "model/bert.h"
#include "model/freezing.h"

namespace bertdist {

// Models with their weights, where the job computes and as the configuration wants them.

// Not collective. Loads the weights and tells the user what was drawn from the seed and what was left unused. Labels of
// `label_names`, the folder's own where that is empty.
BertForSequenceClassification load_model(const Job& job, const std::filesystem::path& folder,
                                         const std::vector<std::string>& label_names);

// Collective, for evaluate and predict. Throws Error(model) where the folder lacks the classifier's weights: drawn from
// a seed they would be of no use. Throws Error(communication) where ranks have other weights than rank 0.
BertForSequenceClassification load_trained_model(const Job& job, const std::filesystem::path& folder);

}  // namespace bertdist
