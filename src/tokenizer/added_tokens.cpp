#include "tokenizer/added_tokens.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace bertdist {

void AddedVocabulary::add(const AddedToken& token, const std::map<std::string, std::int32_t>& vocab) {
  if (token.content.empty()) return;
  std::int32_t id = 0;
  if (const auto added = ids_.find(token.content); added != ids_.end()) {
    id = added->second;
  } else if (const auto known = vocab.find(token.content); known != vocab.end()) {
    id = known->second;
  } else {
    // As `tokenizers` counts: on from the number of entries of the vocabulary, whatever its largest id is.
    id = static_cast<std::int32_t>(vocab.size()) + num_new_++;
  }
  ids_[token.content] = id;
  tokens_[id] = token;
  const bool was_special = special_[token.content];
  if (!was_special) entries_.push_back({token.content, token.normalized, id});
  special_[token.content] = was_special || token.special;
}

AddedTokenFinder::AddedTokenFinder(const AddedVocabulary& vocabulary, bool normalized, const BertNormalizer& normalizer,
                                   const CharacterClasses& classes)
    : classes_(&classes) {
  std::vector<std::pair<std::string, std::int32_t>> contents;
  std::vector<char32_t> marks;
  for (const auto& entry : vocabulary.entries()) {
    if (entry.normalized != normalized) continue;
    std::string content = entry.content;
    if (normalized) normalizer.normalize(entry.content, content, marks);
    if (content.empty())
      throw Error(ExitCode::model,
                  fmt::format("nothing is left of the added token '{}' when it is normalized", entry.content),
                  "set its \"normalized\" to false in tokenizer.json, or remove it");
    first_bytes_[static_cast<unsigned char>(content.front())] = true;
    contents.emplace_back(std::move(content), entry.id);
    const AddedToken& token = vocabulary.token(entry.id);
    tokens_[entry.id] = {token.single_word, token.lstrip, token.rstrip};
  }
  if (std::count(first_bytes_.begin(), first_bytes_.end(), true) == 1)
    only_first_byte_ =
        static_cast<int>(std::find(first_bytes_.begin(), first_bytes_.end(), true) - first_bytes_.begin());
  // Of tokens that look the same once normalized `tokenizers` finds one by chance; here it is the largest id.
  std::sort(contents.begin(), contents.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  trie_ = TokenTrie(std::move(contents));
}

AddedTokenFinder::Found AddedTokenFinder::find(std::string_view text, std::size_t position, std::size_t done) const {
  for (position = next_candidate(text, position); position < text.size(); position = next_candidate(text, position)) {
    const TokenTrie::Match match = trie_.longest_match(text.substr(position));
    if (!match) {
      ++position;
      continue;
    }
    Found found{match.id, position, position + match.length, position + match.length};
    position = found.search_from;
    const Flags& flags = tokens_.at(match.id);
    if (flags.single_word && touches_word(text, found.begin, found.end)) continue;
    if (flags.lstrip) found.begin = std::max(whitespace_before(text, found.begin), done);
    if (flags.rstrip) found.end = whitespace_after(text, found.end);
    return found;
  }
  return {};
}

std::size_t AddedTokenFinder::next_candidate(std::string_view text, std::size_t position) const {
  if (tokens_.empty() || position >= text.size()) return text.size();
  if (only_first_byte_ >= 0) {
    const void* found = std::memchr(text.data() + position, only_first_byte_, text.size() - position);
    return found == nullptr ? text.size() : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
  }
  while (position < text.size() && !first_bytes_[static_cast<unsigned char>(text[position])]) ++position;
  return position;
}

bool AddedTokenFinder::touches_word(std::string_view text, std::size_t begin, std::size_t end) const {
  const auto is_word = [&](char32_t c) { return classes_->is(c, CharacterClasses::word_character); };
  return (begin > 0 && is_word(utf8::decode_backwards(text, begin))) ||
         (end < text.size() && is_word(utf8::decode(text, end)));
}

std::size_t AddedTokenFinder::whitespace_before(std::string_view text, std::size_t position) const {
  for (std::size_t before = position; before > 0; position = before)
    if (!classes_->is(utf8::decode_backwards(text, before), CharacterClasses::whitespace)) break;
  return position;
}

std::size_t AddedTokenFinder::whitespace_after(std::string_view text, std::size_t position) const {
  for (std::size_t after = position; after < text.size(); position = after)
    if (!classes_->is(utf8::decode(text, after), CharacterClasses::whitespace)) break;
  return position;
}

}  // namespace bertdist
