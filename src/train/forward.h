#pragma once

#include <optional>
#include <span>

#include "base/log.h"
#include "comm/communicator.h"
#include "data/batch_plan.h"
#include "model/bert.h"
#include "model/frozen_encoder.h"
#include "train/dataset.h"
#include "train/frozen_features.h"

namespace bertdist {

// What a model is given for some rows.
struct ForwardInput {
  BertInput tokens;          // with nothing but row_ids where [CLS]'s features are at hand
  at::Tensor frozen_output;  // of the frozen layers, where it is kept; otherwise undefined
};

// The logits of a split's rows, by the shortest way: what the frozen layers make of a row is computed without a graph
// by a FrozenEncoder, once for all steps where it can be kept; the model does the rest.
class Forward {
 public:
  // Rows that are used again and again. Collective where something is frozen. Model and dataset must outlive this.
  Forward(const BertForSequenceClassification& model, const Dataset& dataset, const FrozenPassOptions& options,
          Communicator& communicator, const Log& log);
  // Rows that are used once, of a model that is not trained: nothing is kept. Not collective.
  Forward(const BertForSequenceClassification& model, const Dataset& dataset, at::ScalarType dtype);

  const Dataset& dataset() const { return dataset_; }
  // How large an evaluation's batches are best: rows that go through the model itself cost memory for each batch.
  BatchLimit evaluation_batch(std::int64_t batch_size) const {
    return encoder_ && encoder_->gives_cls_only() ? forward_batch(model_.is_on_device())
                                                  : BatchLimit{.rows = batch_size};
  }

  // Whether [CLS]'s features of all rows are at hand: the whole encoder is frozen, and its output is kept.
  bool keeps_cls_features() const { return features_ && model_.cls_hidden_is_constant(); }
  // float32 [batch, hidden], on the model's device, as logits() are. The whole encoder must be frozen. Not collective,
  // and several threads may call it at once.
  at::Tensor cls_features(std::span<const std::int64_t> indices) const;

  ForwardInput input(std::span<const std::int64_t> indices) const;
  // Of the frozen layers, kept or computed now; undefined where they are none, or not constant.
  at::Tensor frozen_output(const ForwardInput& input) const;
  at::Tensor logits(const ForwardInput& input, const std::optional<Dropout>& dropout) const;
  // float32 [batch, num_labels]; not collective, and several threads may call it at once.
  at::Tensor logits(std::span<const std::int64_t> indices, const std::optional<Dropout>& dropout) const;

 private:
  at::Tensor kept_features(std::span<const std::int64_t> indices) const;

  const BertForSequenceClassification& model_;
  const Dataset& dataset_;
  std::optional<FrozenFeatures> features_;
  std::optional<FrozenEncoder> encoder_;  // where the frozen layers' output is not kept
};

}  // namespace bertdist
