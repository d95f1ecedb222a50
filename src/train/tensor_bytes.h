#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstddef>
#include <span>
#include <string_view>

#include "comm/communicator.h"

namespace bertdist {

// The memory of a contiguous tensor on the CPU, which must outlive the span.
inline std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), static_cast<std::size_t>(tensor.nbytes())};
}

// The same of a contiguous float32 tensor, which may be on a device: with the stream that is the current one there.
inline Buffer buffer_of(const at::Tensor& tensor) {
  Buffer buffer{tensor.mutable_data_ptr(), static_cast<std::size_t>(tensor.numel()), DType::float32};
  if (!tensor.is_cpu()) {
    buffer.memory = Memory::device;
    const c10::impl::VirtualGuardImpl device(tensor.device().type());
    buffer.stream = device.getStream(tensor.device()).native_handle();
  }
  return buffer;
}

// The tensor itself where it is on the CPU, otherwise a copy there.
inline at::Tensor on_host(const at::Tensor& tensor) {
  return tensor.is_cpu() ? tensor : tensor.detach().to(at::kCPU);
}

// Collective. A contiguous float32 tensor from `root` to all, in place, wherever it is.
inline void broadcast(Communicator& communicator, const at::Tensor& tensor, int root, std::string_view what) {
  if (tensor.is_cpu()) {
    communicator.broadcast(bytes_of(tensor), root, what);
  } else {
    communicator.broadcast(buffer_of(tensor), root, what);
  }
}

}  // namespace bertdist
