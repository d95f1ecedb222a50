#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>

namespace bertdist {

// The memory of a contiguous tensor on the CPU, which must outlive the span.
inline std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), static_cast<std::size_t>(tensor.nbytes())};
}

}  // namespace bertdist
