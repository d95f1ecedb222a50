#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bert_normalizer.h"
#include "tokenizer/character_classes.h"
#include "tokenizer/token_trie.h"

namespace bertdist {

// A token that is found in the text itself, ahead of WordPiece; the flags are those of Hugging Face's AddedToken.
struct AddedToken {
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

// Which added tokens there are, and their ids.
class AddedVocabulary {
 public:
  // `vocab` is the model's own vocabulary: an added token that it holds keeps its id, others get the next free one.
  void add(const AddedToken& token, const std::map<std::string, std::int32_t>& vocab);

  const std::map<std::string, std::int32_t>& ids() const { return ids_; }

  struct Entry {
    std::string content;
    bool normalized;
    std::int32_t id;
  };
  // What is searched for; a content may appear once for the text as given and once for the normalized text.
  const std::vector<Entry>& entries() const { return entries_; }
  // The flags of the token with an id: those given last.
  const AddedToken& token(std::int32_t id) const { return tokens_.at(id); }

 private:
  std::map<std::string, std::int32_t> ids_;
  std::map<std::int32_t, AddedToken> tokens_;
  std::map<std::string, bool> special_;
  std::vector<Entry> entries_;
  std::int32_t num_new_ = 0;  // not in the model's vocabulary
};

// Finds added tokens: leftmost first, and of those that start at one place the longest.
class AddedTokenFinder {
 public:
  // The tokens of `vocabulary` that are searched for before (normalized = false) or after normalization.
  // Throws Error(model) where a token's content normalizes to nothing.
  AddedTokenFinder(const AddedVocabulary& vocabulary, bool normalized, const BertNormalizer& normalizer,
                   const CharacterClasses& classes);

  bool empty() const { return tokens_.empty(); }

  // Cuts `text` into the stretches between tokens, given to on_text(string_view), and the tokens, given to on_id(id).
  template <typename OnText, typename OnId>
  void split(std::string_view text, OnText&& on_text, OnId&& on_id) const {
    std::size_t done = 0;
    for (std::size_t position = 0;;) {
      const Found found = find(text, position, done);
      if (found.id < 0) break;
      if (done < found.begin) on_text(text.substr(done, found.begin - done));
      on_id(found.id);
      done = found.end;
      position = found.search_from;
    }
    if (done < text.size()) on_text(text.substr(done));
  }

 private:
  struct Flags {
    bool single_word;
    bool lstrip;
    bool rstrip;
  };
  struct Found {
    std::int32_t id = -1;
    std::size_t begin = 0;  // with the whitespace that lstrip and rstrip take
    std::size_t end = 0;
    std::size_t search_from = 0;
  };

  Found find(std::string_view text, std::size_t position, std::size_t done) const;
  std::size_t next_candidate(std::string_view text, std::size_t position) const;
  bool touches_word(std::string_view text, std::size_t begin, std::size_t end) const;
  std::size_t whitespace_before(std::string_view text, std::size_t position) const;
  std::size_t whitespace_after(std::string_view text, std::size_t position) const;

  const CharacterClasses* classes_;
  TokenTrie trie_;
  std::map<std::int32_t, Flags> tokens_;
  std::array<bool, 256> first_bytes_{};
  int only_first_byte_ = -1;  // the byte that all tokens start with, or -1
};

}  // namespace bertdist
