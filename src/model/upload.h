#pragma once

#include <ATen/core/Tensor.h>

namespace bertdist {

// A copy of a host tensor on `device`, on its way when this returns: it is read from page-locked memory that stays
// until then, so neither this thread nor the device waits for the other. On the CPU the tensor itself.
inline at::Tensor upload(const at::Tensor& host, at::Device device) {
  if (device.is_cpu() || host.device() == device) return host;
  return host.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace bertdist
