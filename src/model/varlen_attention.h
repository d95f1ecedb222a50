#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "model/device_math.h"

namespace bertdist {

// Sequences that lie one after the other, as ATen's attention kernels take them.
struct Sequences {
  at::Tensor cu_seqlens;  // int32 [sequences + 1], on the tensors' device
  std::int64_t max_seqlen = 0;
};

// Which probabilities are dropped follows from the seed, on one kind of device and with one version of torch.
struct VarlenDropout {
  double p;
  std::uint64_t seed;
};

// Softmax attention within each sequence: query [query tokens, heads, head_dim], key and value [tokens, heads,
// head_dim]; returns query's shape. `kernel` is flash or memory_efficient. Gradients are autograd's for the operator.
// With dropout it seeds the device's default generator.
at::Tensor varlen_attention(AttentionKernel kernel, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const Sequences& queries, const Sequences& keys,
                            const std::optional<VarlenDropout>& dropout);

}  // namespace bertdist
