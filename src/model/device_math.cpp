#include "model/device_math.h"

namespace bertdist {

DeviceMath cuda_math(ComputeCapability capability, at::ScalarType wanted, std::int64_t head_dim) {
  constexpr std::int64_t kMaxFlashHeadDim = 256;
  if (capability.major < 8) return {at::kFloat, AttentionKernel::memory_efficient};
  const bool is_flash = wanted != at::kFloat && head_dim <= kMaxFlashHeadDim;
  return {wanted, is_flash ? AttentionKernel::flash : AttentionKernel::memory_efficient};
}

}  // namespace bertdist
