#include "train/forward.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <cstring>

#include "data/batch_plan.h"
#include "data/split.h"

namespace bertdist {

namespace {

// Large enough for the matrix products to run at their full rate, small enough for the activations to stay in cache.
constexpr std::int64_t kFeatureBatchSize = 32;

at::Tensor compute_features(const BertForSequenceClassification& model, const Dataset& dataset,
                            Communicator& communicator) {
  const c10::NoGradGuard no_grad;
  const std::int64_t hidden_size = model.config().hidden_size;
  // The batches do not depend on the number of ranks, so neither do the features' last bits.
  const EvaluationPlan plan(all_rows(dataset.size()), dataset.lengths(), kFeatureBatchSize, communicator.world_size());
  std::vector<std::int64_t> indices;
  std::vector<float> values;
  communicator.progress().enter("features of the frozen layers");
  for (const std::vector<std::int64_t>& batch : plan.batches(communicator.rank())) {
    const at::Tensor hidden = model.cls_hidden(dataset.input(batch), std::nullopt).contiguous();
    communicator.progress().advance();
    indices.insert(indices.end(), batch.begin(), batch.end());
    values.insert(values.end(), hidden.data_ptr<float>(), hidden.data_ptr<float>() + hidden.numel());
  }
  const std::vector<Bytes> all_indices = communicator.all_gather(std::as_bytes(std::span(indices)), "feature indices");
  const std::vector<Bytes> all_values = communicator.all_gather(std::as_bytes(std::span(values)), "features");

  at::Tensor features = at::empty({dataset.size(), hidden_size}, at::kFloat);
  const std::size_t row_bytes = static_cast<std::size_t>(hidden_size) * sizeof(float);
  for (std::size_t rank = 0; rank < all_indices.size(); ++rank) {
    const std::size_t count = all_indices[rank].size() / sizeof(std::int64_t);
    for (std::size_t i = 0; i < count; ++i) {
      std::int64_t index = 0;
      std::memcpy(&index, all_indices[rank].data() + i * sizeof(index), sizeof(index));
      std::memcpy(features.data_ptr<float>() + index * hidden_size, all_values[rank].data() + i * row_bytes, row_bytes);
    }
  }
  return features;
}

}  // namespace

Forward::Forward(const BertForSequenceClassification& model, const Dataset& dataset, Communicator& communicator)
    : model_(model), dataset_(dataset) {
  if (model.cls_hidden_is_constant()) features_ = compute_features(model, dataset, communicator);
}

at::Tensor Forward::logits(std::span<const std::int64_t> indices, const std::optional<Dropout>& dropout) const {
  if (!features_.defined()) return model_.logits(dataset_.input(indices), dropout);
  at::Tensor selection = at::empty({static_cast<std::int64_t>(indices.size())}, at::kLong);
  std::copy(indices.begin(), indices.end(), selection.data_ptr<std::int64_t>());
  return model_.head_logits(features_.index_select(0, selection), dataset_.rows(indices), dropout);
}

}  // namespace bertdist
