#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bert_normalizer.h"

namespace bertdist {

// One part of the template that puts special tokens around the texts: ids, or the place of a text.
struct TemplatePart {
  enum class Kind { special, text, text_pair } kind;
  std::vector<std::int32_t> ids;  // of Kind::special
  std::uint8_t type_id = 0;
};

// All that a model folder says about its tokenizer.
struct TokenizerDefinition {
  std::map<std::string, std::int32_t> vocab;
  std::string unk_token = "[UNK]";
  std::string cls_token = "[CLS]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string mask_token = "[MASK]";
  std::string continuing_subword_prefix = "##";
  std::size_t max_input_chars_per_word = 100;
  NormalizerOptions normalizer;
  AddedVocabulary added_tokens;
  std::vector<TemplatePart> single;
  std::vector<TemplatePart> pair;

  // The id of an added or ordinary token, or -1.
  std::int32_t token_to_id(const std::string& token) const;
};

// Reads a folder as BertTokenizer::from_pretrained says. Throws Error(model).
TokenizerDefinition read_tokenizer_definition(const std::filesystem::path& folder);

}  // namespace bertdist
