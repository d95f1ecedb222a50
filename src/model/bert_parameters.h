#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "pretrained/bert_config.h"

namespace bertdist {

struct ParameterSpec {
  std::string name;  // Hugging Face's
  std::vector<std::int64_t> shape;
};

// Every parameter of a BertForSequenceClassification, in Hugging Face's order.
std::vector<ParameterSpec> bert_parameter_specs(const BertConfig& config);

// The value before any training: LayerNorms' weights one, biases zero, other weights N(0, initializer_range) as a pure
// function of seed, name and element.
at::Tensor initial_parameter(const ParameterSpec& spec, const BertConfig& config, std::uint64_t seed);

}  // namespace bertdist
