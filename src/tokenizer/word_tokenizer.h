#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/ascii_block.h"
#include "tokenizer/bert_normalizer.h"
#include "tokenizer/word_cache.h"
#include "tokenizer/word_piece.h"

namespace bertdist {

// Normalizes, splits and cuts a text in one pass over its bytes. BertNormalizer treats what stands on the two sides of
// an ASCII character independently, and ASCII whitespace and punctuation end a word: so a text's ids are those of the
// stretches between them, one after the other, and a stretch that was met before need not be normalized again.
class WordTokenizer {
 public:
  // Of one thread.
  struct Scratch {
    WordCache cache;
    std::string normalized;
    std::vector<char32_t> marks;
  };

  // Both outlive it.
  WordTokenizer(const BertNormalizer& normalizer, const WordPiece& word_piece)
      : normalizer_(&normalizer), word_piece_(&word_piece) {}

  // Appends the ids of `text`, valid UTF-8 as it stands in the file; may stop once there are `limit` ids.
  // `scratch.cache` holds words of this tokenizer alone.
  void tokenize(std::string_view text, std::size_t limit, Scratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  std::size_t tokenize_block(std::string_view text, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void tokenize_new_word(const AsciiBlock& block, std::size_t begin, std::size_t size, Scratch& scratch,
                         std::vector<std::int32_t>& ids) const;
  void tokenize_stretch(std::string_view stretch, std::size_t limit, Scratch& scratch,
                        std::vector<std::int32_t>& ids) const;
  std::size_t tokenize_long_stretch(std::string_view text, std::size_t limit, Scratch& scratch,
                                    std::vector<std::int32_t>& ids) const;

  const BertNormalizer* normalizer_;
  const WordPiece* word_piece_;
};

}  // namespace bertdist
