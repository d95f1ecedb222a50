#pragma once

#include <memory>
#include <optional>

#include "commands.h"
#include "data/label_map.h"
#include "data/prepare.h"
#include "data/token_cache.h"
#include "text/example.h"
#include "text/table.h"
#include "tokenizer/bert_tokenizer.h"
#include "train/dataset.h"

namespace bertdist {

// The configuration's data files, as the folders text and data name them.

TableOptions table_options(const Config& config);
ColumnOptions column_options(const Config& config);

// The labels that id2label or label2id name; nothing where the training data are to say.
std::optional<LabelMap> labels_of_configuration(const Config& config);

struct TokenCaches {
  LabelMap labels;
  std::shared_ptr<const TokenCache> train, validation, test;  // null where the configuration names no such file
};

// Collective. Tokenises the configured files, or finds them tokenised, and opens them. Labels that are not given come
// from the training file.
TokenCaches prepare_caches(const Job& job, const BertTokenizer& tokenizer, std::size_t max_tokens,
                           std::optional<LabelMap> labels);

// The rows that the configuration selects: max_train_samples and the like, and validation_split.
struct Splits {
  std::optional<Dataset> train, validation, test;
};
Splits select_rows(const Config& config, const TokenCaches& caches);

}  // namespace bertdist
