#include "model/freezing.h"

#include <fmt/core.h>

#include <algorithm>

namespace bertdist {

namespace {

FrozenPrefix find_frozen_prefix(const BertForSequenceClassification& model, bool frozen_dropout) {
  const auto all_frozen = [&](const std::string& module) {
    return std::none_of(model.parameters().begin(), model.parameters().end(), [&](const NamedParameter& parameter) {
      return is_in_module(parameter.name, module) && parameter.tensor.requires_grad();
    });
  };
  FrozenPrefix prefix{all_frozen("bert.embeddings"), 0, frozen_dropout};
  for (std::int64_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
    const bool frozen = all_frozen(fmt::format("bert.encoder.layer.{}", layer));
    if (prefix.embeddings && frozen && prefix.num_layers == layer) ++prefix.num_layers;
    prefix.frozen_layers.push_back(frozen);
  }
  return prefix;
}

}  // namespace

Freezing apply_freezing(BertForSequenceClassification& model, const FreezeSpec& spec, bool frozen_dropout) {
  check_freezing(model.config(), spec);
  Freezing freezing;
  for (NamedParameter& parameter : model.parameters()) {
    const bool trainable = !is_frozen(parameter.name, spec);
    parameter.tensor.set_requires_grad(trainable);
    const std::int64_t num_elements = parameter.tensor.numel();
    freezing.parameters.push_back({parameter.name, parameter.tensor.sizes().vec(), num_elements, trainable});
    freezing.num_total += num_elements;
    if (trainable) freezing.num_trainable += num_elements;
  }
  model.set_frozen_prefix(find_frozen_prefix(model, frozen_dropout));
  freezing.num_frozen_layers = model.frozen_prefix().num_layers;
  return freezing;
}

}  // namespace bertdist
