#pragma once

#include <xxhash.h>

#include <cstdint>
#include <string_view>

namespace bertdist {

// XXH3, 64 bits: tells at memory's speed whether bytes are the same.
inline std::uint64_t checksum(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace bertdist
