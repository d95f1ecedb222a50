#pragma once

#include <optional>
#include <span>

#include "comm/communicator.h"
#include "model/bert.h"
#include "train/dataset.h"

namespace bertdist {

// The logits of a split's rows, by the shortest way: where training leaves everything below the head as it is, the
// [CLS] features of all rows are computed once, here, and only the head runs afterwards.
class Forward {
 public:
  // Collective where the features are kept: every rank computes its share of them and all get all. Model and dataset
  // must outlive this.
  Forward(const BertForSequenceClassification& model, const Dataset& dataset, Communicator& communicator);

  const Dataset& dataset() const { return dataset_; }
  bool keeps_features() const { return features_.defined(); }

  // float32 [batch, num_labels]; not collective.
  at::Tensor logits(std::span<const std::int64_t> indices, const std::optional<Dropout>& dropout) const;

 private:
  const BertForSequenceClassification& model_;
  const Dataset& dataset_;
  at::Tensor features_;  // float32 [rows, hidden], by index; undefined where not kept
};

}  // namespace bertdist
