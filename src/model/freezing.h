#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/bert.h"

namespace bertdist {

// Which parameters stay as they were loaded.
struct FreezeSpec {
  enum class Kind {
    none,                // all are trained
    base,                // all but the classifier are frozen
    base_except_pooler,  // all but pooler and classifier
    embeddings,          // the embeddings
    first_layers,        // the embeddings and the first `first_layers` layers
    patterns,            // those whose names match one of `patterns`
  };

  Kind kind = Kind::none;
  std::int64_t first_layers = 0;
  // A parameter's name, a module's ("bert.encoder.layer.3"), or a name with *, ? and [...], where * spans dots too.
  std::vector<std::string> patterns = {};
};

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

// Throws Error(configuration) where a pattern matches nothing, first_layers is not one of 0 to the number of layers, or
// nothing would be left to train. Needs no weights.
void check_freezing(const BertConfig& config, const FreezeSpec& spec);

// Sets requires_grad of every parameter and the model's frozen prefix. Dropout is off in the embeddings and in each
// layer that are frozen whole, unless frozen_dropout. Throws as check_freezing does.
Freezing apply_freezing(BertForSequenceClassification& model, const FreezeSpec& spec, bool frozen_dropout);

}  // namespace bertdist
