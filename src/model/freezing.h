#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/bert.h"
#include "pretrained/freeze_spec.h"

namespace bertdist {

struct ParameterStatus {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t num_elements;
  bool trainable;
};

struct Freezing {
  std::vector<ParameterStatus> parameters;  // in the model's order
  std::int64_t num_trainable = 0;           // elements
  std::int64_t num_total = 0;
  std::int64_t num_frozen_layers =
      0;  // layers of the frozen prefix: all parameters of them and of all below are frozen
};

// Sets requires_grad of every parameter and the model's frozen prefix. Dropout is off in the embeddings and in each
// layer that are frozen whole, unless frozen_dropout. Throws as check_freezing does.
Freezing apply_freezing(BertForSequenceClassification& model, const FreezeSpec& spec, bool frozen_dropout);

}  // namespace bertdist
