#include "model/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/core.h>

namespace bertdist {

std::string DeviceMemory::to_string() const {
  const auto in_gib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (std::int64_t{1} << 30); };
  return fmt::format(
      "of {:.2f} GiB, {:.2f} are free now; this process had at most {:.2f} in tensors and {:.2f} reserved for them",
      in_gib(total), in_gib(free), in_gib(most_allocated), in_gib(most_reserved));
}

DeviceMemory device_memory(at::Device device) {
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  c10::DeviceAllocator& allocator = *c10::getDeviceAllocator(device.type());
  const auto stats = allocator.getDeviceStats(device.index());
  const auto [free, total] = allocator.getMemoryInfo(device.index());
  return {.most_allocated = stats.allocated_bytes[kAll].peak,
          .most_reserved = stats.reserved_bytes[kAll].peak,
          .free = static_cast<std::int64_t>(free),
          .total = static_cast<std::int64_t>(total)};
}

}  // namespace bertdist
