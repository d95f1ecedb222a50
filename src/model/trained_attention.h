#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "model/attention.h"

namespace bertdist {

// packed_attention for float32 on the CPU, whose gradient is written out: one node of the graph for all sequences,
// which keeps the probabilities, with dropout's mask as their signs, and nothing else that grows with length * length.
at::Tensor trained_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const PackedLayout& layout, std::int64_t num_heads, bool first_token_only,
                             const std::optional<AttentionDropout>& dropout);

}  // namespace bertdist
