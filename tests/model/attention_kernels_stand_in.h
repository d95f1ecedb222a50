#pragma once

#include <cstdint>

#include "model/device_math.h"

namespace bertdist {

// What the last call of an attention operator was given. Whoever links attention_kernels_stand_in.cpp has those
// operators on the CPU.
struct AttentionCall {
  AttentionKernel kernel = AttentionKernel::by_length;
  double dropout_p = 0;
  std::uint64_t seed = 0;  // of the default generator
  std::int64_t max_queries = 0;
  std::int64_t max_keys = 0;
};
const AttentionCall& last_attention_call();

}  // namespace bertdist
