#pragma once

#include <xxhash.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace bertdist {

// XXH3, 128 bits: names a content (of a file, of options) so that equal names mean equal contents. Not cryptographic.
class ContentHash {
 public:
  ContentHash();

  ContentHash& update(std::span<const std::byte> bytes);
  // A length-prefixed field: ("ab", "c") and ("a", "bc") differ.
  ContentHash& field(std::string_view value);

  std::string hex() const;  // 32 lower-case hexadecimal digits

 private:
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, FreeState> state_;
};

// Hash of a file's bytes, read in blocks. Throws Error(data) where it cannot be read.
std::string hash_file(const std::filesystem::path& path);

}  // namespace bertdist
