#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pretrained/bert_config.h"

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

// Whether the parameter or module of this name is the module itself or lies within it.
bool is_in_module(std::string_view name, std::string_view module);
bool is_frozen(const std::string& parameter, const FreezeSpec& spec);

// Throws Error(configuration) where a pattern matches nothing, first_layers is not one of 0 to the number of layers, or
// nothing would be left to train. Needs no weights and no torch.
void check_freezing(const BertConfig& config, const FreezeSpec& spec);

}  // namespace bertdist
