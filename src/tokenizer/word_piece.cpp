#include "tokenizer/word_piece.h"

#include <utility>

#include "tokenizer/utf8.h"

namespace bertdist {

WordPiece::WordPiece(const std::map<std::string, std::int32_t>& vocab, Options options, const CharacterClasses& classes)
    : options_(std::move(options)),
      classes_(&classes),
      trie_(TokenTrie::Tokens(vocab.begin(), vocab.end())),
      continuation_(trie_.walk(options_.continuing_subword_prefix)) {}

void WordPiece::tokenize(std::string_view text, std::size_t limit, std::vector<std::int32_t>& ids) const {
  std::size_t word_start = 0;
  std::size_t word_chars = 0;
  const auto end_word = [&](std::size_t end) {
    if (word_chars > 0) append_word(text.substr(word_start, end - word_start), word_chars, ids);
    word_chars = 0;
  };
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t start = position;
    const std::uint8_t flags = classes_->flags(utf8::decode(text, position));
    if ((flags & (CharacterClasses::whitespace | CharacterClasses::punctuation)) == 0) {
      if (word_chars++ == 0) word_start = start;
      continue;
    }
    end_word(start);
    if ((flags & CharacterClasses::punctuation) != 0) append_word(text.substr(start, position - start), 1, ids);
    if (ids.size() >= limit) return;
  }
  end_word(text.size());
}

void WordPiece::append_word(std::string_view word, std::size_t num_chars, std::vector<std::int32_t>& ids) const {
  const std::size_t num_ids_before = ids.size();
  TokenTrie::State from = TokenTrie::root;
  bool known = num_chars <= options_.max_input_chars_per_word;
  while (known && !word.empty()) {
    const TokenTrie::Match piece = from == TokenTrie::none ? TokenTrie::Match{} : trie_.longest_match(word, from);
    known = static_cast<bool>(piece);
    if (known) {
      ids.push_back(piece.id);
      word.remove_prefix(piece.length);
      from = continuation_;
    }
  }
  if (known) return;
  ids.resize(num_ids_before);
  ids.push_back(options_.unk_token_id);
}

}  // namespace bertdist
