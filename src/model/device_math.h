#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

namespace bertdist {

// Of an NVIDIA device: 8.0 is Ampere, 9.0 Hopper.
struct ComputeCapability {
  int major;
  int minor;
};

// How attention within sequences of different lengths is computed.
enum class AttentionKernel {
  by_length,         // a dense product for each length, on the CPU
  flash,             // ATen's _flash_attention_forward: numbers of 16 bits, capability 8.0 or higher
  memory_efficient,  // ATen's _efficient_attention_forward: any numbers, any device
};

// What a device computes a model with.
struct DeviceMath {
  at::ScalarType matmul_dtype = at::kFloat;  // of the layers' matrix products
  AttentionKernel attention = AttentionKernel::by_length;
};

// Of an NVIDIA device. `wanted`: float32 or bfloat16; below 8.0, where there are no units for bfloat16, it is float32
// whatever was wanted. `head_dim`: hidden_size / num_attention_heads.
DeviceMath cuda_math(ComputeCapability capability, at::ScalarType wanted, std::int64_t head_dim);

}  // namespace bertdist
