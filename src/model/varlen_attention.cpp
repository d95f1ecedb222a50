#include "model/varlen_attention.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/constant_pad_nd.h>

#include <cmath>
#include <mutex>

namespace bertdist {

namespace {

constexpr std::int64_t kHeadUnitBytes = 16;  // the kernels take multiples of this

void seed_generator(at::Device device, std::uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(seed);
}

at::Tensor flash_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const Sequences& queries, const Sequences& keys, double p, double scale) {
  return std::get<0>(at::_flash_attention_forward(query, key, value, queries.cu_seqlens, keys.cu_seqlens,
                                                  queries.max_seqlen, keys.max_seqlen, p, /*is_causal=*/false,
                                                  /*return_debug_mask=*/false, scale));
}

// The kernel has a dimension for batches, which has one entry where there are cu_seqlens.
at::Tensor memory_efficient_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                      const Sequences& queries, const Sequences& keys, double p, double scale) {
  constexpr std::int64_t kNoMask = 0;
  const auto result = at::_efficient_attention_forward(
      query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0), /*bias=*/std::nullopt, queries.cu_seqlens,
      keys.cu_seqlens, queries.max_seqlen, keys.max_seqlen, p, kNoMask, /*compute_log_sumexp=*/true, scale);
  return std::get<0>(result).squeeze(0);
}

}  // namespace

at::Tensor varlen_attention(AttentionKernel kernel, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const Sequences& queries, const Sequences& keys,
                            const std::optional<VarlenDropout>& dropout) {
  if (dropout) seed_generator(query.device(), dropout->seed);
  const double p = dropout ? dropout->p : 0.0;
  const double scale = 1.0 / std::sqrt(static_cast<double>(query.size(2)));
  const std::int64_t head_dim = query.size(2), unit = kHeadUnitBytes / query.element_size();
  const std::int64_t missing = (unit - head_dim % unit) % unit;
  const auto padded = [&](const at::Tensor& x) { return missing == 0 ? x : at::constant_pad_nd(x, {0, missing}); };
  const auto attention = kernel == AttentionKernel::flash ? flash_attention : memory_efficient_attention;
  return attention(padded(query), padded(key), padded(value), queries, keys, p, scale).narrow(2, 0, head_dim);
}

}  // namespace bertdist
