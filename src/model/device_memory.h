#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace bertdist {

// Memory of a device, in bytes.
struct DeviceMemory {
  std::int64_t most_allocated;  // of this process's tensors, all at one time
  std::int64_t most_reserved;   // taken from the driver for them, the former included
  std::int64_t free;            // of the device, now
  std::int64_t total;

  std::string to_string() const;
};

// Of a device that is not the CPU.
DeviceMemory device_memory(at::Device device);

}  // namespace bertdist
