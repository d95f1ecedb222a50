#include "train/forward.h"

#include <ATen/core/Tensor.h>

#include "model/upload.h"

namespace bertdist {

Forward::Forward(const BertForSequenceClassification& model, const Dataset& dataset, const FrozenPassOptions& options,
                 Communicator& communicator, const Log& log)
    : model_(model),
      dataset_(dataset),
      features_(model.frozen_output_is_constant() ? FrozenFeatures::compute(model, dataset, options, communicator, log)
                                                  : std::nullopt) {
  if (model.frozen_output_is_constant() && !features_)
    encoder_.emplace(model, model.frozen_prefix().num_layers, options.dtype);
}

Forward::Forward(const BertForSequenceClassification& model, const Dataset& dataset, at::ScalarType dtype)
    : model_(model), dataset_(dataset), encoder_(std::in_place, model, model.config().num_hidden_layers, dtype) {}

at::Tensor Forward::logits(std::span<const std::int64_t> indices, const std::optional<Dropout>& dropout) const {
  if (keeps_cls_features() || (encoder_ && encoder_->gives_cls_only())) {
    return model_.head_logits(cls_features(indices), dataset_.rows(indices), dropout);
  }
  const BertInput input = dataset_.input(indices);
  if (features_) return model_.logits(input, dropout, kept_features(indices));
  if (encoder_) return model_.logits(input, dropout, encoder_->forward(input));
  return model_.logits(input, dropout);
}

at::Tensor Forward::cls_features(std::span<const std::int64_t> indices) const {
  return features_ ? kept_features(indices) : encoder_->forward(dataset_.input(indices));
}

at::Tensor Forward::kept_features(std::span<const std::int64_t> indices) const {
  return upload(features_->of_rows(indices), model_.device());
}

}  // namespace bertdist
