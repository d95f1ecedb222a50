#include "tokenizer/bert_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/content_hash.h"
#include "base/error.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bert_normalizer.h"
#include "tokenizer/character_classes.h"
#include "tokenizer/tokenizer_definition.h"
#include "tokenizer/utf8.h"
#include "tokenizer/word_piece.h"
#include "tokenizer/word_tokenizer.h"

namespace bertdist {
namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

std::size_t num_special_tokens(const std::vector<TemplatePart>& parts) {
  std::size_t count = 0;
  for (const TemplatePart& part : parts) count += part.ids.size();
  return count;
}

struct Lengths {
  std::size_t text;
  std::size_t text_pair;
};

// How much of each text is left when both together may have `room` tokens, of which they have more.
Lengths truncate_longest_first(Lengths lengths, std::size_t room) {
  const auto [shorter, longer] = std::minmax(lengths.text, lengths.text_pair);
  std::size_t kept_of_shorter = shorter;
  std::size_t kept_of_longer = room - std::min(shorter, room);
  if (kept_of_longer < shorter) {
    kept_of_shorter = room / 2;
    kept_of_longer = room - kept_of_shorter;
  }
  return lengths.text > lengths.text_pair ? Lengths{kept_of_longer, kept_of_shorter}
                                          : Lengths{kept_of_shorter, kept_of_longer};
}

Lengths truncate_only_first(Lengths lengths, std::size_t room) {
  if (lengths.text_pair >= room)
    throw Error(
        ExitCode::data,
        fmt::format("the second text alone has {} tokens, which leaves the first none of the {} that max_seq_length "
                    "allows besides the special tokens",
                    lengths.text_pair, room),
        "use the truncation strategy longest_first, or a larger max_seq_length");
  return {room - lengths.text_pair, lengths.text_pair};
}

Lengths truncate(Lengths lengths, std::size_t room, TruncationStrategy strategy) {
  if (lengths.text + lengths.text_pair <= room) return lengths;
  if (room == 0) return {0, 0};
  return strategy == TruncationStrategy::longest_first ? truncate_longest_first(lengths, room)
                                                       : truncate_only_first(lengths, room);
}

std::string hash_definition(const TokenizerDefinition& definition) {
  ContentHash hash;
  const auto number = [&](auto value) { hash.field(fmt::format("{}", value)); };
  hash.field("BertTokenizer 1").field(definition.unk_token).field(definition.continuing_subword_prefix);
  number(definition.max_input_chars_per_word);
  const NormalizerOptions& normalizer = definition.normalizer;
  for (const bool on :
       {normalizer.clean_text, normalizer.handle_chinese_chars, normalizer.strip_accents, normalizer.lowercase})
    number(on);
  number(definition.vocab.size());
  for (const auto& [token, id] : definition.vocab) number(id), hash.field(token);
  number(definition.added_tokens.entries().size());
  for (const auto& entry : definition.added_tokens.entries()) {
    const AddedToken& token = definition.added_tokens.token(entry.id);
    hash.field(entry.content);
    number(entry.id);
    for (const bool on : {entry.normalized, token.single_word, token.lstrip, token.rstrip}) number(on);
  }
  for (const auto* parts : {&definition.single, &definition.pair}) {
    number(parts->size());
    for (const TemplatePart& part : *parts) {
      number(static_cast<int>(part.kind));
      number(part.type_id);
      number(part.ids.size());
      for (const std::int32_t id : part.ids) number(id);
    }
  }
  return hash.hex();
}

std::size_t largest_id_plus_one(const TokenizerDefinition& definition) {
  std::int32_t largest = -1;
  for (const auto& [token, id] : definition.vocab) largest = std::max(largest, id);
  for (const auto& [token, id] : definition.added_tokens.ids()) largest = std::max(largest, id);
  return static_cast<std::size_t>(largest + 1);
}

}  // namespace

struct BertTokenizer::Parts {
  explicit Parts(const TokenizerDefinition& definition)
      : normalizer(definition.normalizer, classes),
        raw_tokens(definition.added_tokens, false, normalizer, classes),
        normalized_tokens(definition.added_tokens, true, normalizer, classes),
        word_piece(definition.vocab,
                   {definition.continuing_subword_prefix, definition.max_input_chars_per_word,
                    definition.vocab.at(definition.unk_token)},
                   classes),
        word_tokenizer(normalizer, word_piece),
        single(definition.single),
        pair(definition.pair),
        num_special_of_single(num_special_tokens(single)),
        num_special_of_pair(num_special_tokens(pair)),
        fingerprint(hash_definition(definition)),
        vocab_size(largest_id_plus_one(definition)),
        cls_token_id(definition.token_to_id(definition.cls_token)),
        sep_token_id(definition.token_to_id(definition.sep_token)),
        pad_token_id(definition.token_to_id(definition.pad_token)),
        mask_token_id(definition.token_to_id(definition.mask_token)),
        unk_token_id(definition.token_to_id(definition.unk_token)) {}

  // Appends the ids of one text, without special tokens; may stop once there are `limit`, with those before.
  // Returns the number of invalid UTF-8 sequences, of the whole text.
  std::size_t tokenize(std::string_view text, std::size_t limit, Encoding::Scratch& scratch,
                       std::vector<std::int32_t>& ids) const {
    const std::size_t replaced = utf8::replace_invalid(text, scratch.valid_utf8);
    const auto add_id = [&](std::int32_t id) { ids.push_back(id); };
    const auto add_words = [&](std::string_view words) { word_piece.tokenize(words, limit, ids); };
    const auto add_text = [&](std::string_view stretch) {
      if (normalized_tokens.empty()) return word_tokenizer.tokenize(stretch, limit, scratch.words, ids);
      if (ids.size() >= limit) return;
      normalizer.normalize(stretch, scratch.words.normalized, scratch.words.marks);
      normalized_tokens.split(scratch.words.normalized, add_words, add_id);
    };
    raw_tokens.split(replaced > 0 ? std::string_view(scratch.valid_utf8) : text, add_text, add_id);
    return replaced;
  }

  // What encode() does once `out` is empty; `room` tokens besides the special ones.
  std::size_t encode_single(std::string_view text, std::size_t room, Encoding& out) const {
    std::size_t replaced = 0;
    for (const TemplatePart& part : single) {
      const std::size_t begin = out.input_ids.size();
      if (part.kind == TemplatePart::Kind::special) {
        out.input_ids.insert(out.input_ids.end(), part.ids.begin(), part.ids.end());
      } else {
        replaced = tokenize(text, begin + room, out.scratch, out.input_ids);
        out.input_ids.resize(std::min(out.input_ids.size(), begin + room));
      }
      out.token_type_ids.resize(out.input_ids.size(), part.type_id);
    }
    return replaced;
  }

  std::size_t encode_pair(std::string_view text, std::string_view text_pair, std::size_t room,
                          TruncationStrategy strategy, Encoding& out) const {
    // Which of two texts is longer decides what is cut, so both are read to their end.
    Encoding::Scratch& scratch = out.scratch;
    scratch.text_ids.clear();
    scratch.pair_ids.clear();
    std::size_t replaced = tokenize(text, no_limit, scratch, scratch.text_ids);
    replaced += tokenize(text_pair, no_limit, scratch, scratch.pair_ids);
    const Lengths kept = truncate({scratch.text_ids.size(), scratch.pair_ids.size()}, room, strategy);
    for (const TemplatePart& part : pair) {
      const bool special = part.kind == TemplatePart::Kind::special;
      const bool first = part.kind == TemplatePart::Kind::text;
      const std::vector<std::int32_t>& ids = special ? part.ids : first ? scratch.text_ids : scratch.pair_ids;
      const std::size_t count = special ? ids.size() : first ? kept.text : kept.text_pair;
      out.input_ids.insert(out.input_ids.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
      out.token_type_ids.resize(out.input_ids.size(), part.type_id);
    }
    return replaced;
  }

  CharacterClasses classes;
  BertNormalizer normalizer;
  AddedTokenFinder raw_tokens;
  AddedTokenFinder normalized_tokens;
  WordPiece word_piece;
  WordTokenizer word_tokenizer;
  std::vector<TemplatePart> single;
  std::vector<TemplatePart> pair;
  std::size_t num_special_of_single;
  std::size_t num_special_of_pair;
  std::string fingerprint;
  std::size_t vocab_size;
  std::int32_t cls_token_id;
  std::int32_t sep_token_id;
  std::int32_t pad_token_id;
  std::int32_t mask_token_id;
  std::int32_t unk_token_id;
};

BertTokenizer::BertTokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
BertTokenizer::BertTokenizer(BertTokenizer&&) noexcept = default;
BertTokenizer& BertTokenizer::operator=(BertTokenizer&&) noexcept = default;
BertTokenizer::~BertTokenizer() = default;

BertTokenizer BertTokenizer::from_pretrained(const std::filesystem::path& folder) {
  return BertTokenizer(std::make_unique<const Parts>(read_tokenizer_definition(folder)));
}

std::size_t BertTokenizer::encode(std::string_view text, std::optional<std::string_view> text_pair,
                                  std::size_t max_seq_length, TruncationStrategy strategy, Encoding& out) const {
  const std::size_t num_special = text_pair ? parts_->num_special_of_pair : parts_->num_special_of_single;
  if (max_seq_length < num_special)
    throw Error(
        ExitCode::configuration,
        fmt::format("max_seq_length = {} has no room for the {} special tokens of a row", max_seq_length, num_special),
        fmt::format("set it to at least {}", num_special + 1));
  const std::size_t room = max_seq_length - num_special;
  out.scratch.words.cache.use_for(parts_->fingerprint);
  out.input_ids.clear();
  out.token_type_ids.clear();
  return text_pair ? parts_->encode_pair(text, *text_pair, room, strategy, out)
                   : parts_->encode_single(text, room, out);
}

std::string BertTokenizer::fingerprint() const {
  return parts_->fingerprint;
}
std::size_t BertTokenizer::vocab_size() const {
  return parts_->vocab_size;
}
std::int32_t BertTokenizer::cls_token_id() const {
  return parts_->cls_token_id;
}
std::int32_t BertTokenizer::sep_token_id() const {
  return parts_->sep_token_id;
}
std::int32_t BertTokenizer::unk_token_id() const {
  return parts_->unk_token_id;
}
std::int32_t BertTokenizer::pad_token_id() const {
  return parts_->pad_token_id;
}
std::int32_t BertTokenizer::mask_token_id() const {
  return parts_->mask_token_id;
}

}  // namespace bertdist
