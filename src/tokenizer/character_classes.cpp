#include "tokenizer/character_classes.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "tokenizer/unicode_tables.h"

namespace bertdist {
namespace {

// Upper-case letters that came with Unicode 16 and 17, which Rust knows before utf8proc does.
struct LowercaseRange {
  char32_t first;
  char32_t last;
  std::int32_t to_lowercase;
};
constexpr LowercaseRange newer_letters[] = {
    {0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, -42343}, {0xA7CC, 0xA7CC, 1}, {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},      {0xA7DA, 0xA7DA, 1}, {0xA7DC, 0xA7DC, -42561},
    {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B},
};

constexpr char32_t capital_i_with_dot = 0x130;
constexpr char32_t combining_dot_above = 0x307;
constexpr char32_t last_code_point = 0x10FFFF;
constexpr char32_t end_of_scripts_with_case = 0x20000;

}  // namespace

CharacterClasses::CharacterClasses() : flags_(last_code_point + 1) {
  const auto set = [&](std::span<const unicode_tables::CodePointRange> ranges, Flag flag) {
    for (const auto& range : ranges)
      for (char32_t c = range.first; c <= range.last; ++c) flags_[c] |= flag;
  };
  set(unicode_tables::removed_by_clean_text, removed);
  set(unicode_tables::whitespace, whitespace);
  set(unicode_tables::punctuation, punctuation);
  set(unicode_tables::chinese, chinese);
  set(unicode_tables::nonspacing_marks, nonspacing_mark);
  set(unicode_tables::reordered_by_nfd, nfd_changes);
  set(unicode_tables::decomposed_by_nfd, nfd_changes);
  set(unicode_tables::word_characters, word_character);
  for (char32_t c = 0; c < end_of_scripts_with_case; ++c)
    if (const Lowercase lower = to_lowercase(c); lower.size != 1 || lower.code_points[0] != c)
      flags_[c] |= has_lowercase;
}

Lowercase to_lowercase(char32_t code_point) {
  if (code_point == capital_i_with_dot) return {{U'i', combining_dot_above}, 2};
  const auto* newer =
      std::find_if(std::begin(newer_letters), std::end(newer_letters),
                   [&](const LowercaseRange& range) { return range.first <= code_point && code_point <= range.last; });
  const auto c = static_cast<std::int32_t>(code_point);
  const std::int32_t lower = newer != std::end(newer_letters) ? c + newer->to_lowercase : utf8proc_tolower(c);
  return {{static_cast<char32_t>(lower), 0}, 1};
}

Decomposition decompose(char32_t code_point) {
  Decomposition result{};
  int boundary_class = 0;
  result.size = static_cast<int>(utf8proc_decompose_char(static_cast<std::int32_t>(code_point), result.code_points,
                                                         static_cast<int>(std::size(result.code_points)),
                                                         UTF8PROC_DECOMPOSE, &boundary_class));
  return result;
}

int combining_class(char32_t code_point) {
  return utf8proc_get_property(static_cast<std::int32_t>(code_point))->combining_class;
}

}  // namespace bertdist
