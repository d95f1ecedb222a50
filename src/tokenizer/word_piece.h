#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/character_classes.h"
#include "tokenizer/token_trie.h"

namespace bertdist {

// Hugging Face's BertPreTokenizer and WordPiece: splits normalized text at whitespace, takes each punctuation mark as a
// word, and cuts each word greedily into the longest pieces of the vocabulary.
class WordPiece {
 public:
  struct Options {
    std::string continuing_subword_prefix = "##";
    std::size_t max_input_chars_per_word = 100;
    std::int32_t unk_token_id = 0;
  };

  WordPiece(const std::map<std::string, std::int32_t>& vocab, Options options, const CharacterClasses& classes);

  // Appends the ids of `text`, which is valid UTF-8; may stop once there are `limit` ids.
  void tokenize(std::string_view text, std::size_t limit, std::vector<std::int32_t>& ids) const;
  // Appends the ids of one word, of `num_chars` code points, or that of the unknown token.
  void append_word(std::string_view word, std::size_t num_chars, std::vector<std::int32_t>& ids) const;

 private:
  Options options_;
  const CharacterClasses* classes_;
  TokenTrie trie_;
  TokenTrie::State continuation_;  // where a piece inside a word starts: behind the prefix
};

}  // namespace bertdist
