#include "tokenizer/bert_normalizer.h"

#include <algorithm>

#include "tokenizer/utf8.h"

namespace bertdist {

BertNormalizer::BertNormalizer(NormalizerOptions options, const CharacterClasses& classes)
    : options_(options), classes_(&classes) {
  for (char32_t c = 0; c < ascii_.size(); ++c) {
    ascii_stays_[c] = !(options_.clean_text && classes.is(c, CharacterClasses::removed));
    ascii_[c] = static_cast<char>(options_.lowercase ? to_lowercase(c).code_points[0] : c);
    if (options_.clean_text && classes.is(c, CharacterClasses::whitespace)) ascii_[c] = ' ';
  }
}

void BertNormalizer::normalize(std::string_view text, std::string& normalized, std::vector<char32_t>& marks) const {
  normalized.clear();
  marks.clear();
  for (std::size_t position = 0; position < text.size();) {
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      flush(marks, normalized);
      position = append_ascii(text, position, normalized);
      continue;
    }
    const char32_t code_point = utf8::decode(text, position);
    const std::uint8_t flags = classes_->flags(code_point);
    if (options_.clean_text && (flags & CharacterClasses::removed) != 0) continue;
    if (options_.clean_text && (flags & CharacterClasses::whitespace) != 0) {
      flush(marks, normalized);
      normalized.push_back(' ');
      continue;
    }
    const bool spaced = options_.handle_chinese_chars && (flags & CharacterClasses::chinese) != 0;
    if (spaced) {
      flush(marks, normalized);
      normalized.push_back(' ');
    }
    if (options_.strip_accents)
      append_decomposed(code_point, normalized, marks);
    else
      append_lowercase(code_point, normalized);
    if (spaced) {
      flush(marks, normalized);
      normalized.push_back(' ');
    }
  }
  flush(marks, normalized);
}

std::size_t BertNormalizer::append_ascii(std::string_view text, std::size_t position, std::string& normalized) const {
  std::size_t end = position;
  while (end < text.size() && static_cast<unsigned char>(text[end]) < 0x80) ++end;
  std::size_t size = normalized.size();
  normalized.resize(size + end - position);
  for (; position < end; ++position) {
    const auto c = static_cast<unsigned char>(text[position]);
    normalized[size] = ascii_[c];
    size += ascii_stays_[c] ? 1 : 0;
  }
  normalized.resize(size);
  return end;
}

void BertNormalizer::append_decomposed(char32_t code_point, std::string& normalized,
                                       std::vector<char32_t>& marks) const {
  const auto append_one = [&](char32_t c) {
    const std::uint8_t flags = classes_->flags(c);
    if ((flags & CharacterClasses::nonspacing_mark) != 0) {
      // It goes, but where it starts a sequence of its own the marks on its two sides must not change places.
      if (combining_class(c) == 0) flush(marks, normalized);
    } else if ((flags & CharacterClasses::nfd_changes) != 0) {
      marks.push_back(c);
    } else {
      flush(marks, normalized);
      append_lowercase(c, normalized);
    }
  };
  const bool decomposed = classes_->is(code_point, CharacterClasses::nfd_changes);
  if (!decomposed) return append_one(code_point);
  const Decomposition parts = decompose(code_point);
  for (int i = 0; i < parts.size; ++i) append_one(static_cast<char32_t>(parts.code_points[i]));
}

void BertNormalizer::append_lowercase(char32_t code_point, std::string& normalized) const {
  if (!options_.lowercase || !classes_->is(code_point, CharacterClasses::has_lowercase))
    return utf8::append(normalized, code_point);
  const Lowercase lower = to_lowercase(code_point);
  for (int i = 0; i < lower.size; ++i) utf8::append(normalized, lower.code_points[i]);
}

void BertNormalizer::flush(std::vector<char32_t>& marks, std::string& normalized) const {
  if (marks.empty()) return;
  // Canonical order. An insertion sort, since std::stable_sort allocates and there is hardly ever more than one mark.
  for (std::size_t i = 1; i < marks.size(); ++i)
    for (std::size_t j = i; j > 0 && combining_class(marks[j - 1]) > combining_class(marks[j]); --j)
      std::swap(marks[j - 1], marks[j]);
  for (const char32_t mark : marks) append_lowercase(mark, normalized);
  marks.clear();
}

}  // namespace bertdist
