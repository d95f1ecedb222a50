#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/log.h"
#include "comm/communicator.h"
#include "model/bert.h"
#include "train/dataset.h"
#include "train/feature_file.h"
#include "train/frozen_pass.h"

namespace bertdist {

struct FrozenPassOptions {
  at::ScalarType dtype = at::kFloat;  // of its matrix products: float32 or bfloat16
  std::filesystem::path cache_dir;
  double max_cache_bytes = 0;  // of one file; beyond it the pass is not kept on disk
  bool may_write = true;       // into cache_dir; otherwise only the files that are there are used
};

// What the model's frozen prefix makes of each row of a split, computed once and kept: in a file that later runs find,
// or, where a file may not be that large, in memory.
class FrozenFeatures {
 public:
  // Collective. Finds the file of an earlier run or makes it. Nothing where the output is too large to be kept. The
  // prefix must be constant (`frozen_output_is_constant`). Throws Error(output), Error(data) for a file that is
  // damaged, and Error(communication) where ranks differ in weights, rows or options.
  static std::optional<FrozenFeatures> compute(const BertForSequenceClassification& model, const Dataset& dataset,
                                               const FrozenPassOptions& options, Communicator& communicator,
                                               const Log& log);

  // float32 [batch, hidden] where the whole encoder is frozen, otherwise [tokens, hidden] of the rows one after the
  // other. Several threads may call it at once.
  at::Tensor of_rows(std::span<const std::int64_t> indices) const;

 private:
  FrozenFeatures(DistinctRows rows, std::int64_t hidden_size, bool cls_only);

  std::vector<std::int64_t> place_;    // [rows], of a row's features
  std::vector<std::int64_t> offsets_;  // [distinct + 1], in vectors
  std::int64_t hidden_size_;
  std::optional<FeatureFile> file_;
  at::Tensor memory_;  // float32 [vectors, hidden], where there is no file
};

}  // namespace bertdist
