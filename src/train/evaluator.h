#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "data/batch_plan.h"
#include "metrics/classification_metrics.h"
#include "train/forward.h"

namespace bertdist {

using BatchLogits = std::function<at::Tensor(std::span<const std::int64_t> indices)>;

// Collective. The logits of rows 0..lengths.size()-1 on rank 0, row-major [rows, num_labels]; nothing on the others.
// Batches are formed globally and dealt whole, so that a row's logits do not depend on the number of ranks; they travel
// in rounds of bounded size. Several threads call `batch_logits` at once, without recording gradients. Throws
// Error(internal) unless rank 0 holds each row exactly once.
std::vector<float> gather_logits(std::span<const std::int32_t> lengths, const BatchLimit& limit,
                                 std::int64_t num_labels, const BatchLogits& batch_logits, Communicator& communicator);

// What travels between ranks and into files. A number that is not finite is null there, and NaN once it is read.
nlohmann::ordered_json metrics_to_json(const ClassificationMetrics& metrics);
ClassificationMetrics metrics_from_json(const nlohmann::json& json);

struct Evaluation {
  ClassificationMetrics metrics;
  std::int64_t num_rows = 0;
  double runtime = 0;  // seconds

  // Hugging Face's keys, each behind the prefix: "eval_loss", "eval_accuracy", "eval_auc" (null where undefined), ...
  nlohmann::ordered_json to_json(std::string_view prefix) const;
};

// Collective. Metrics of a whole split, the same on every rank; the loss is that of the training, smoothed where that
// is. Throws Error(data) where a row has no label, on rank 0 Error(numeric) where logits are not finite.
Evaluation evaluate(const Forward& forward, std::int64_t batch_size, std::int64_t num_labels,
                    double label_smoothing_factor, Communicator& communicator);

}  // namespace bertdist
