#pragma once

#include <span>

// Sets of code points as Hugging Face's `tokenizers` sees them; see generate_unicode_tables.py.
namespace bertdist::unicode_tables {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

extern const std::span<const CodePointRange> removed_by_clean_text;
extern const std::span<const CodePointRange> whitespace;
extern const std::span<const CodePointRange> chinese;
extern const std::span<const CodePointRange> nonspacing_marks;
extern const std::span<const CodePointRange> reordered_by_nfd;  // a combining class above 0, other than the marks above
extern const std::span<const CodePointRange> decomposed_by_nfd;
extern const std::span<const CodePointRange> punctuation;
extern const std::span<const CodePointRange> word_characters;  // \w of Rust's regular expressions

}  // namespace bertdist::unicode_tables
