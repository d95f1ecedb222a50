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

ForwardInput Forward::input(std::span<const std::int64_t> indices) const {
  ForwardInput input;
  if (features_) input.frozen_output = kept_features(indices);
  if (keeps_cls_features()) {
    input.tokens.row_ids = dataset_.rows(indices);
  } else {
    input.tokens = dataset_.input(indices);
  }
  return input;
}

at::Tensor Forward::frozen_output(const ForwardInput& input) const {
  return encoder_ ? encoder_->forward(input.tokens) : input.frozen_output;
}

at::Tensor Forward::logits(const ForwardInput& input, const std::optional<Dropout>& dropout) const {
  const at::Tensor frozen = frozen_output(input);
  const bool is_cls = keeps_cls_features() || (encoder_ && encoder_->gives_cls_only());
  return is_cls ? model_.head_logits(frozen, input.tokens.row_ids, dropout)
                : model_.logits(input.tokens, dropout, frozen);
}

at::Tensor Forward::logits(std::span<const std::int64_t> indices, const std::optional<Dropout>& dropout) const {
  return logits(input(indices), dropout);
}

at::Tensor Forward::cls_features(std::span<const std::int64_t> indices) const {
  return features_ ? kept_features(indices) : encoder_->forward(dataset_.input(indices));
}

at::Tensor Forward::kept_features(std::span<const std::int64_t> indices) const {
  return upload(features_->of_rows(indices), model_.device());
}

}  // namespace bertdist
