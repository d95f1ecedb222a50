#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace bertdist {

// The upper half of a float32.
struct Bfloat16 {
  std::uint16_t bits = 0;

  bool operator==(const Bfloat16&) const = default;
};

inline float to_float(Bfloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

// The nearest one; of two that are as near the even one.
inline Bfloat16 to_bfloat16(float value) {
  if (std::isnan(value)) return {0x7fc0};
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

}  // namespace bertdist
