#include "base/content_hash.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace bertdist {

ContentHash::ContentHash() : state_(XXH3_createState()) {
  XXH3_128bits_reset(state_.get());
}

ContentHash& ContentHash::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  return *this;
}

ContentHash& ContentHash::field(std::string_view value) {
  const std::uint64_t size = value.size();
  XXH3_128bits_update(state_.get(), &size, sizeof(size));
  XXH3_128bits_update(state_.get(), value.data(), value.size());
  return *this;
}

std::string ContentHash::hex() const {
  const XXH128_hash_t digest = XXH3_128bits_digest(state_.get());
  return fmt::format("{:016x}{:016x}", digest.high64, digest.low64);
}

std::string hash_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  ContentHash hash;
  std::vector<char> block(1 << 20);
  while (file) {
    file.read(block.data(), static_cast<std::streamsize>(block.size()));
    hash.update(std::as_bytes(std::span(block.data(), static_cast<std::size_t>(file.gcount()))));
  }
  if (!file.eof())
    throw Error(ExitCode::data, fmt::format("cannot read '{}': {}", path.string(), std::strerror(errno)));
  return hash.hex();
}

}  // namespace bertdist
