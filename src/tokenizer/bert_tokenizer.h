#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/word_tokenizer.h"

namespace bertdist {

// What gives way when a row is longer than max_seq_length: the longer of the two texts (both, once they are equally
// long), or only the first.
enum class TruncationStrategy { longest_first, only_first };

// The result of one call of encode(). A caller that keeps it for the next call spares every allocation, and the words
// met before are known.
struct Encoding {
  std::vector<std::int32_t> input_ids;       // [tokens]: [CLS] a [SEP] or [CLS] a [SEP] b [SEP]
  std::vector<std::uint8_t> token_type_ids;  // [tokens]: 0 for [CLS] a [SEP], 1 for b [SEP]

  // Working memory of BertTokenizer; of no meaning to others.
  struct Scratch {
    std::string valid_utf8;
    WordTokenizer::Scratch words;
    std::vector<std::int32_t> text_ids;
    std::vector<std::int32_t> pair_ids;
  } scratch;
};

// The BERT pipeline of Hugging Face's `tokenizers`, id for id: BertNormalizer, BertPreTokenizer, WordPiece, the
// template of special tokens, and added tokens found inside the text.
class BertTokenizer {
 public:
  // Reads a model folder: its tokenizer.json or, where it has none, vocab.txt with tokenizer_config.json and, as older
  // versions of transformers wrote them, special_tokens_map.json and added_tokens.json (each optional; the defaults are
  // those of Hugging Face's BertTokenizerFast). Truncation and padding that tokenizer.json may ask for are
  // not applied; its normalizer counts, whatever tokenizer_config.json says. Throws Error(model) where the files are
  // missing, damaged, or describe another kind of tokenizer.
  static BertTokenizer from_pretrained(const std::filesystem::path& folder);

  BertTokenizer(BertTokenizer&&) noexcept;
  BertTokenizer& operator=(BertTokenizer&&) noexcept;
  ~BertTokenizer();

  // Replaces `out` by the encoding of one row. Several threads may call it at once, each with an Encoding of its own.
  // Returns the number of invalid UTF-8 sequences, each of which was read as one U+FFFD.
  // Throws Error(configuration) where max_seq_length has no room for the special tokens, and Error(data) where
  // `only_first` cannot help because text_pair alone is too long.
  std::size_t encode(std::string_view text, std::optional<std::string_view> text_pair, std::size_t max_seq_length,
                     TruncationStrategy strategy, Encoding& out) const;

  // A hash of everything that decides ids: equal fingerprints, equal ids for every text.
  std::string fingerprint() const;

  std::size_t vocab_size() const;  // largest id + 1

  std::int32_t cls_token_id() const;
  std::int32_t sep_token_id() const;
  std::int32_t unk_token_id() const;
  std::int32_t pad_token_id() const;   // -1 where the vocabulary has none
  std::int32_t mask_token_id() const;  // -1 where the vocabulary has none

 private:
  struct Parts;
  explicit BertTokenizer(std::unique_ptr<const Parts> parts);

  std::unique_ptr<const Parts> parts_;
};

}  // namespace bertdist
