#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "pretrained/bert_parameters.h"

namespace bertdist {

// The value before any training: LayerNorms' weights one, biases zero, other weights N(0, initializer_range) as a pure
// function of seed, name and element.
at::Tensor initial_parameter(const ParameterSpec& spec, const BertConfig& config, std::uint64_t seed);

}  // namespace bertdist
