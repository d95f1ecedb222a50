#pragma once

#include <filesystem>
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

// Where the configured files lie tokenised; empty where the configuration names no such file.
struct TokenCachePaths {
  LabelMap labels;
  std::filesystem::path train, validation, test;
};

// Collective. Tokenises the configured files, or finds them tokenised. Labels that are not given come from the training
// file. Where a max_..._samples is set, only so many rows are tokenised, except that validation_split is drawn from
// all.
TokenCachePaths prepare_caches(const Job& job, const ModelSource& source, std::optional<LabelMap> labels);

// Not collective. Reads the caches into memory. Throws Error(data).
TokenCaches open_caches(const TokenCachePaths& paths);

}  // namespace bertdist
