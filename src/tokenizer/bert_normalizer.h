#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/character_classes.h"

namespace bertdist {

struct NormalizerOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};

// Hugging Face's BertNormalizer, its steps in its order, done in one pass.
class BertNormalizer {
 public:
  BertNormalizer(NormalizerOptions options, const CharacterClasses& classes);

  const NormalizerOptions& options() const { return options_; }

  // Replaces `normalized` by the normal form of `text`, which is valid UTF-8. `marks` is working memory.
  void normalize(std::string_view text, std::string& normalized, std::vector<char32_t>& marks) const;

 private:
  std::size_t append_ascii(std::string_view text, std::size_t position, std::string& normalized) const;
  void append_decomposed(char32_t code_point, std::string& normalized, std::vector<char32_t>& marks) const;
  void append_lowercase(char32_t code_point, std::string& normalized) const;
  void flush(std::vector<char32_t>& marks, std::string& normalized) const;

  NormalizerOptions options_;
  const CharacterClasses* classes_;
  std::array<char, 128> ascii_{};        // what an ASCII character becomes
  std::array<bool, 128> ascii_stays_{};  // false: it is removed
};

}  // namespace bertdist
