#include "tokenizer/ascii_block.h"

#include <cstring>

#include "base/byte_vector.h"

namespace bertdist {
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
  for (std::size_t i = 0; i < capacity; i += byte_vector_size) {
    ByteVector c;
    std::memcpy(&c, from + i, byte_vector_size);
    const ByteVector lower = c | case_bit;
    const ByteVector letter = (lower > 'a' - 1) & (lower < 'z' + 1);
    const ByteVector digit = (c > '0' - 1) & (c < '9' + 1);
    const ByteVector visible = (c > ' ') & (c < '~' + 1);
    const ByteVector white = (c == ' ') | (c == '\t') | (c == '\n') | (c == '\r');
    whitespace |= std::uint64_t{bits_of(white)} << i;
    letters_and_digits |= std::uint64_t{bits_of(letter | digit)} << i;
    punctuation |= std::uint64_t{bits_of(visible & ~(letter | digit))} << i;
    c |= letter & case_change;
    std::memcpy(bytes + i, &c, byte_vector_size);
  }
}

}  // namespace bertdist
