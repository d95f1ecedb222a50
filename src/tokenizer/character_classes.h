#pragma once

#include <cstdint>
#include <vector>

namespace bertdist {

// What the tokenizer asks about a code point, as flags in one byte.
class CharacterClasses {
 public:
  enum Flag : std::uint8_t {
    removed = 1,           // by clean_text
    whitespace = 2,        // separates words
    punctuation = 4,       // is a word of its own
    chinese = 8,           // gets a space on both sides by handle_chinese_chars
    nonspacing_mark = 16,  // removed by strip_accents
    nfd_changes = 32,      // decomposed or put in another place by NFD
    has_lowercase = 64,    // other than itself
    word_character = 128,  // what single_word tokens may not touch
  };

  CharacterClasses();

  std::uint8_t flags(char32_t code_point) const { return flags_[code_point]; }
  bool is(char32_t code_point, Flag flag) const { return (flags_[code_point] & flag) != 0; }

 private:
  std::vector<std::uint8_t> flags_;
};

// Rust's lowercase of one code point, independent of its context: one code point, or two for U+0130.
struct Lowercase {
  char32_t code_points[2];
  int size;
};
Lowercase to_lowercase(char32_t code_point);

// The canonical decomposition: up to 4 code points.
struct Decomposition {
  std::int32_t code_points[4];
  int size;
};
Decomposition decompose(char32_t code_point);

int combining_class(char32_t code_point);

}  // namespace bertdist
