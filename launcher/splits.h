#pragma once

#include <cstdint>
#include <optional>

#include "config/config.h"
#include "data_setup.h"
#include "job.h"
#include "train/dataset.h"

namespace bertdist {

// The rows that the configuration selects: max_train_samples and the like, and validation_split.
struct Splits {
  std::optional<Dataset> train, validation, test;
};
Splits select_rows(const Config& config, const TokenCaches& caches);

// Once, and before hours of work: of the splits to evaluate, those on which the AUC is undefined.
void warn_of_missing_classes(const Job& job, const Splits& splits, std::int64_t num_labels);

}  // namespace bertdist
