#pragma once

#include <memory>
#include <optional>

#include "data/label_map.h"
#include "data/prepare.h"
#include "data/token_cache.h"
#include "job.h"
#include "model_source.h"
#include "text/example.h"
#include "text/table.h"

namespace bertdist {

// The configuration's data files, as the folders text and data name them.

TableOptions table_options(const Config& config);
ColumnOptions column_options(const Config& config);

// The labels that id2label or label2id name, otherwise those that a fine-tuned checkpoint names, whose classifier knows
// them in that order; nothing where the training data are to say.
std::optional<LabelMap> known_labels(const Config& config, const BertConfig& model_config);

struct TokenCaches {
  LabelMap labels;
  std::shared_ptr<const TokenCache> train, validation, test;  // null where the configuration names no such file
};

// Collective. Tokenises the configured files, or finds them tokenised, and opens them. Labels that are not given come
// from the training file.
TokenCaches prepare_caches(const Job& job, const ModelSource& source, std::optional<LabelMap> labels);

}  // namespace bertdist
