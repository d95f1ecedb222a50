#include "tokenizer/ascii_block.h"

#include <cstring>

namespace bertdist {
namespace {

constexpr std::size_t vector_size = 16;
// Signed, so that one comparison tells ASCII from what is not.
using Vector [[gnu::vector_size(vector_size)]] = signed char;

// One bit for each element, all of whose bits are equal.
std::uint64_t bits_of(Vector elements) {
#ifdef __SSE2__
  using Chars [[gnu::vector_size(vector_size)]] = char;
  return static_cast<std::uint64_t>(__builtin_ia32_pmovmskb128(reinterpret_cast<Chars>(elements)));
#else
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < vector_size; ++i) bits |= static_cast<std::uint64_t>(elements[i] & 1) << i;
  return bits;
#endif
}

}  // namespace

void AsciiBlock::read(std::string_view text, bool lowercase) {
  const char* from = text.data();
  if (text.size() < capacity) {
    std::memset(bytes, ' ', capacity);
    if (!text.empty()) std::memcpy(bytes, text.data(), text.size());
    from = bytes;
  }
  constexpr signed char case_bit = 'a' - 'A';
  const signed char case_change = lowercase ? case_bit : 0;
  whitespace = punctuation = letters_and_digits = 0;
  for (std::size_t i = 0; i < capacity; i += vector_size) {
    Vector c;
    std::memcpy(&c, from + i, vector_size);
    const Vector lower = c | case_bit;
    const Vector letter = (lower > 'a' - 1) & (lower < 'z' + 1);
    const Vector digit = (c > '0' - 1) & (c < '9' + 1);
    const Vector visible = (c > ' ') & (c < '~' + 1);
    const Vector white = (c == ' ') | (c == '\t') | (c == '\n') | (c == '\r');
    whitespace |= bits_of(white) << i;
    letters_and_digits |= bits_of(letter | digit) << i;
    punctuation |= bits_of(visible & ~(letter | digit)) << i;
    c |= letter & case_change;
    std::memcpy(bytes + i, &c, vector_size);
  }
}

}  // namespace bertdist
