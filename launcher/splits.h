#pragma once

#include <optional>

#include "config/config.h"
#include "data_setup.h"
#include "train/dataset.h"

namespace bertdist {

// The rows that the configuration selects: max_train_samples and the like, and validation_split.
struct Splits {
  std::optional<Dataset> train, validation, test;
};
Splits select_rows(const Config& config, const TokenCaches& caches);

}  // namespace bertdist
