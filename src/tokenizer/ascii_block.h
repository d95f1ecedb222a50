#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bertdist {

// The next bytes of a text, and what ASCII characters are among them: bit i of a mask speaks of byte i.
struct AsciiBlock {
  static constexpr std::size_t capacity = 64;
  static constexpr std::size_t padding = 16;  // readable behind every byte

  char bytes[capacity + padding];
  std::uint64_t whitespace;   // space, tab, newline, carriage return, and all behind the end of the text
  std::uint64_t punctuation;  // visible, and neither a letter nor a digit
  std::uint64_t letters_and_digits;

  // Reads the first `capacity` bytes of `text`, or all that there are; `lowercase` turns A to Z into a to z.
  void read(std::string_view text, bool lowercase);
};

}  // namespace bertdist
