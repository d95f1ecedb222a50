#include "tokenizer/utf8.h"

#include <cstdint>
#include <cstring>

namespace bertdist::utf8 {
namespace {

// A sequence that starts with `lead` has `size` bytes, the second of them in [low, high] (0 bytes: never valid). The
// narrower limits shut out overlong forms, surrogates and what lies beyond U+10FFFF.
struct SequenceRule {
  std::size_t size;
  unsigned char low;
  unsigned char high;
};

SequenceRule rule_of(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2 || lead > 0xF4) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead < 0xF0) {
    const auto low = static_cast<unsigned char>(lead == 0xE0 ? 0xA0 : 0x80);
    const auto high = static_cast<unsigned char>(lead == 0xED ? 0x9F : 0xBF);
    return {3, low, high};
  }
  const auto low = static_cast<unsigned char>(lead == 0xF0 ? 0x90 : 0x80);
  const auto high = static_cast<unsigned char>(lead == 0xF4 ? 0x8F : 0xBF);
  return {4, low, high};
}

struct Sequence {
  std::size_t size;
  bool valid;
};

Sequence sequence_at(std::string_view text, std::size_t position) {
  const SequenceRule rule = rule_of(static_cast<unsigned char>(text[position]));
  if (rule.size == 0) return {1, false};
  for (std::size_t i = 1; i < rule.size; ++i) {
    const unsigned char low = i == 1 ? rule.low : 0x80;
    const unsigned char high = i == 1 ? rule.high : 0xBF;
    if (position + i >= text.size()) return {i, false};
    const auto byte = static_cast<unsigned char>(text[position + i]);
    if (byte < low || byte > high) return {i, false};
  }
  return {rule.size, true};
}

std::size_t skip_ascii(std::string_view text, std::size_t position) {
  constexpr std::uint64_t high_bits = 0x8080808080808080U;
  for (std::uint64_t word = 0; position + sizeof(word) <= text.size(); position += sizeof(word)) {
    std::memcpy(&word, text.data() + position, sizeof(word));
    if ((word & high_bits) != 0) break;
  }
  while (position < text.size() && static_cast<unsigned char>(text[position]) < 0x80) ++position;
  return position;
}

}  // namespace

char32_t decode_backwards(std::string_view text, std::size_t& position) {
  do {
    --position;
  } while ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  std::size_t start = position;
  return decode(text, start);
}

void append(std::string& text, char32_t code_point) {
  const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3F))); };
  if (code_point < 0x80) {
    text.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text.push_back(static_cast<char>(0xC0 | code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | code_point >> 12));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xF0 | code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::size_t replace_invalid(std::string_view text, std::string& valid) {
  std::size_t replaced = 0;
  std::size_t copied = 0;
  for (std::size_t position = skip_ascii(text, 0); position < text.size(); position = skip_ascii(text, position)) {
    const Sequence sequence = sequence_at(text, position);
    if (!sequence.valid) {
      if (replaced == 0) valid.clear();
      valid.append(text, copied, position - copied);
      valid.append("\xEF\xBF\xBD");
      copied = position + sequence.size;
      ++replaced;
    }
    position += sequence.size;
  }
  if (replaced > 0) valid.append(text, copied);
  return replaced;
}

}  // namespace bertdist::utf8
