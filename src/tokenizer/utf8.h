#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bertdist::utf8 {

// The code point at text[position], of valid UTF-8; moves `position` behind it.
inline char32_t decode(std::string_view text, std::size_t& position) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const char32_t lead = byte(0);
  char32_t code_point = lead;
  std::size_t size = 1;
  if (lead >= 0xF0) {
    code_point = (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    size = 4;
  } else if (lead >= 0xE0) {
    code_point = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    size = 3;
  } else if (lead >= 0xC0) {
    code_point = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    size = 2;
  }
  position += size;
  return code_point;
}

// The code point that ends before text[position], of valid UTF-8; moves `position` to its first byte.
char32_t decode_backwards(std::string_view text, std::size_t& position);

void append(std::string& text, char32_t code_point);

// Copies `text` to `valid`, with U+FFFD in place of each maximal part of it that is not UTF-8 (Unicode's recommended
// practice, and Python's errors="replace"). Returns how many were replaced; where that is 0, `valid` is left untouched.
std::size_t replace_invalid(std::string_view text, std::string& valid);

}  // namespace bertdist::utf8
