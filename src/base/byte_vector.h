#pragma once

#include <cstddef>
#include <cstdint>

namespace bertdist {

// 16 bytes that are compared at once: SSE2, which every x86-64 has, or what the compiler makes of it elsewhere. Signed,
// so that one comparison tells ASCII from what is not.
constexpr std::size_t byte_vector_size = 16;
using ByteVector [[gnu::vector_size(byte_vector_size)]] = signed char;

// The result of a comparison as one bit an element, the first the lowest.
inline std::uint32_t bits_of(ByteVector comparison) {
#ifdef __SSE2__
  using Chars [[gnu::vector_size(byte_vector_size)]] = char;
  return static_cast<std::uint32_t>(__builtin_ia32_pmovmskb128(reinterpret_cast<Chars>(comparison)));
#else
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < byte_vector_size; ++i) bits |= static_cast<std::uint32_t>(comparison[i] & 1) << i;
  return bits;
#endif
}

}  // namespace bertdist
