#include "tokenizer/tokenizer_definition.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "tokenizer/unicode_tables.h"
#include "tokenizer/utf8.h"

namespace bertdist {
namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr const char* not_bert_hint =
    "bertdist reads BERT's tokenizer: a WordPiece model with BertNormalizer, BertPreTokenizer and a [CLS] … [SEP] "
    "template";

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || file.bad())
    throw Error(ExitCode::model, fmt::format("cannot read '{}': {}", path.string(), std::strerror(errno)));
  return content;
}

Json read_json(const fs::path& path) {
  try {
    Json json = Json::parse(read_file(path));
    if (json.is_object()) return json;
  } catch (const Json::exception& error) {
    throw Error(ExitCode::model, fmt::format("'{}' is not JSON: {}", path.string(), error.what()),
                "the file is damaged; fetch the model again");
  }
  throw Error(ExitCode::model, fmt::format("'{}' does not hold a JSON object", path.string()),
              "the file is damaged; fetch the model again");
}

const Json& member(const Json& object, const char* key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

bool flag(const Json& object, const char* key, bool otherwise) {
  const Json& value = member(object, key);
  return value.is_null() ? otherwise : value.get<bool>();
}

std::string type_of(const Json& object) {
  return member(object, "type").is_string() ? object["type"].get<std::string>() : "null";
}

[[noreturn]] void fail_other_kind(const char* part, const Json& found, const char* expected) {
  throw Error(ExitCode::model, fmt::format("its {} is of type {}, not {}", part, type_of(found), expected),
              not_bert_hint);
}

std::int32_t to_id(const Json& value) {
  const auto id = value.get<std::int64_t>();
  if (!value.is_number_integer() || id < 0 || id >= std::numeric_limits<std::int32_t>::max())
    throw Error(ExitCode::model, fmt::format("{} is not a token id", value.dump()));
  return static_cast<std::int32_t>(id);
}

// A token is written as a string or as {"content": ..., "lstrip": ..., ...}.
AddedToken to_added_token(const Json& value, bool special) {
  AddedToken token;
  token.special = special;
  token.normalized = !special;
  if (value.is_string()) {
    token.content = value.get<std::string>();
    return token;
  }
  token.content = value.at("content").get<std::string>();
  token.special = flag(value, "special", special);
  token.normalized = flag(value, "normalized", !token.special);
  token.single_word = flag(value, "single_word", false);
  token.lstrip = flag(value, "lstrip", false);
  token.rstrip = flag(value, "rstrip", false);
  return token;
}

void read_normalizer(const Json& json, NormalizerOptions& options) {
  if (type_of(json) != "BertNormalizer") fail_other_kind("normalizer", json, "BertNormalizer");
  options.clean_text = flag(json, "clean_text", true);
  options.handle_chinese_chars = flag(json, "handle_chinese_chars", true);
  options.lowercase = flag(json, "lowercase", true);
  options.strip_accents = flag(json, "strip_accents", options.lowercase);
}

void read_model(const Json& json, TokenizerDefinition& definition) {
  if (!json.is_object()) fail_other_kind("model", json, "WordPiece");
  // Files of the first years leave the type out; the prefix is what only WordPiece has.
  const bool word_piece = json.contains("type")
                              ? type_of(json) == "WordPiece"
                              : json.contains("continuing_subword_prefix") && !json.contains("merges");
  if (!word_piece) fail_other_kind("model", json, "WordPiece");
  definition.unk_token = json.at("unk_token").get<std::string>();
  definition.continuing_subword_prefix = json.at("continuing_subword_prefix").get<std::string>();
  definition.max_input_chars_per_word = json.at("max_input_chars_per_word").get<std::size_t>();
  for (const auto& [token, id] : json.at("vocab").items()) definition.vocab[token] = to_id(id);
}

TemplatePart special_part(std::int32_t id, std::uint8_t type_id) {
  return {TemplatePart::Kind::special, {id}, type_id};
}

void set_bert_template(TokenizerDefinition& definition, std::int32_t cls, std::int32_t sep) {
  const TemplatePart text{TemplatePart::Kind::text, {}, 0};
  const TemplatePart text_pair{TemplatePart::Kind::text_pair, {}, 1};
  definition.single = {special_part(cls, 0), text, special_part(sep, 0)};
  definition.pair = {special_part(cls, 0), text, special_part(sep, 0), text_pair, special_part(sep, 1)};
}

std::vector<TemplatePart> read_template(const Json& pieces, const Json& special_tokens, int num_texts) {
  std::vector<TemplatePart> parts;
  std::array<int, 2> seen{};
  for (const Json& piece : pieces) {
    TemplatePart part{};
    const bool special = piece.contains("SpecialToken");
    const Json& body = piece.at(special ? "SpecialToken" : "Sequence");
    const auto name = body.at("id").get<std::string>();
    part.type_id = body.at("type_id").get<std::uint8_t>();
    if (special) {
      part.kind = TemplatePart::Kind::special;
      for (const Json& id : special_tokens.at(name).at("ids")) part.ids.push_back(to_id(id));
    } else {
      part.kind = name == "A" ? TemplatePart::Kind::text : TemplatePart::Kind::text_pair;
      ++seen[name == "A" ? 0 : 1];
    }
    parts.push_back(std::move(part));
  }
  if (seen[0] != 1 || seen[1] != num_texts - 1)
    throw Error(ExitCode::model, "its template of special tokens does not hold each text once", not_bert_hint);
  return parts;
}

void read_post_processor(const Json& json, TokenizerDefinition& definition) {
  if (type_of(json) == "BertProcessing") {
    definition.cls_token = json.at("cls").at(0).get<std::string>();
    definition.sep_token = json.at("sep").at(0).get<std::string>();
    set_bert_template(definition, to_id(json.at("cls").at(1)), to_id(json.at("sep").at(1)));
  } else if (type_of(json) == "TemplateProcessing") {
    definition.single = read_template(json.at("single"), json.at("special_tokens"), 1);
    definition.pair = read_template(json.at("pair"), json.at("special_tokens"), 2);
  } else {
    fail_other_kind("post_processor", json, "TemplateProcessing");
  }
}

// The names of the special tokens in tokenizer_config.json, each a string or an object.
void read_special_token_names(const Json& config, TokenizerDefinition& definition) {
  const auto read = [&](const char* key, std::string& name) {
    if (const Json& value = member(config, key); !value.is_null()) name = to_added_token(value, true).content;
  };
  read("cls_token", definition.cls_token);
  read("sep_token", definition.sep_token);
  read("pad_token", definition.pad_token);
  read("mask_token", definition.mask_token);
}

TokenizerDefinition read_tokenizer_json(const Json& json, const Json& config) {
  TokenizerDefinition definition;
  read_model(member(json, "model"), definition);
  read_normalizer(member(json, "normalizer"), definition.normalizer);
  if (const Json& pre_tokenizer = member(json, "pre_tokenizer"); type_of(pre_tokenizer) != "BertPreTokenizer")
    fail_other_kind("pre_tokenizer", pre_tokenizer, "BertPreTokenizer");
  if (const Json& added = member(json, "added_tokens"); !added.is_null())
    for (const Json& token : added) definition.added_tokens.add(to_added_token(token, false), definition.vocab);
  read_special_token_names(config, definition);
  read_post_processor(member(json, "post_processor"), definition);
  return definition;
}

void remove_trailing_whitespace(std::string& token) {
  const auto is_whitespace = [](char32_t c) {
    return std::ranges::any_of(unicode_tables::whitespace,
                               [&](const auto& range) { return range.first <= c && c <= range.last; });
  };
  for (std::size_t end = token.size(); end > 0;) {
    if (!is_whitespace(utf8::decode_backwards(token, end))) break;
    token.resize(end);
  }
}

// One token a line; its line number is its id.
std::map<std::string, std::int32_t> read_vocab(const std::string& content) {
  std::map<std::string, std::int32_t> vocab;
  std::int32_t id = 0;
  for (std::size_t begin = 0; begin < content.size(); ++id) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    std::string token = content.substr(begin, end - begin);
    remove_trailing_whitespace(token);
    vocab[token] = id;
    begin = end + 1;
  }
  return vocab;
}

// added_tokens.json maps contents to ids; in tokenizer_config.json added_tokens_decoder does it the other way round.
Json decoder_of(const Json& added_tokens, const Json& config) {
  std::set<std::string> special;
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
    if (const Json& value = member(config, key); !value.is_null()) special.insert(to_added_token(value, true).content);
  if (const Json& extra = member(config, "extra_special_tokens"); extra.is_array())
    for (const Json& value : extra) special.insert(to_added_token(value, true).content);
  Json decoder = Json::object();
  for (const auto& [content, id] : added_tokens.items()) {
    const bool is_special = special.contains(content);
    decoder[fmt::format("{}", to_id(id))] = {
        {"content", content}, {"special", is_special}, {"normalized", !is_special}};
  }
  return decoder;
}

// tokenizer_config.json with what transformers wrote into files of their own before it had an added_tokens_decoder; as
// there, those files count only where it has none.
Json with_legacy_files(Json config, const fs::path& folder) {
  if (config.contains("added_tokens_decoder")) return config;
  if (const fs::path path = folder / "special_tokens_map.json"; fs::exists(path)) {
    const Json extra = member(config, "extra_special_tokens");
    config.update(read_json(path));
    if (extra.is_array() && config["extra_special_tokens"].is_array() && extra != config["extra_special_tokens"])
      for (const Json& token : extra) config["extra_special_tokens"].push_back(token);
  }
  if (const fs::path path = folder / "added_tokens.json"; fs::exists(path))
    config["added_tokens_decoder"] = decoder_of(read_json(path), config);
  return config;
}

TokenizerDefinition read_vocab_txt(const fs::path& path, const Json& config) {
  const std::string content = read_file(path);
  if (std::string unused; utf8::replace_invalid(content, unused) > 0)
    throw Error(ExitCode::model, "it is not UTF-8", "the file is damaged; fetch the model again");
  TokenizerDefinition definition;
  definition.vocab = read_vocab(content);
  definition.normalizer.lowercase = flag(config, "do_lower_case", true);
  definition.normalizer.handle_chinese_chars = flag(config, "tokenize_chinese_chars", true);
  definition.normalizer.strip_accents = flag(config, "strip_accents", definition.normalizer.lowercase);
  read_special_token_names(config, definition);
  const Json& unk = member(config, "unk_token");
  if (!unk.is_null()) definition.unk_token = to_added_token(unk, true).content;

  std::map<std::int32_t, AddedToken> by_id;
  for (const auto& [id, token] : member(config, "added_tokens_decoder").items())
    by_id[static_cast<std::int32_t>(std::stol(id))] = to_added_token(token, false);
  for (const auto& [id, token] : by_id) definition.added_tokens.add(token, definition.vocab);

  const auto add_special = [&](const AddedToken& token) {
    if (!definition.added_tokens.ids().contains(token.content)) definition.added_tokens.add(token, definition.vocab);
  };
  const std::array<std::pair<const char*, const std::string*>, 5> named = {{{"unk_token", &definition.unk_token},
                                                                            {"sep_token", &definition.sep_token},
                                                                            {"pad_token", &definition.pad_token},
                                                                            {"cls_token", &definition.cls_token},
                                                                            {"mask_token", &definition.mask_token}}};
  for (const auto& [key, name] : named) {
    const Json& value = member(config, key);
    add_special(to_added_token(value.is_object() ? value : Json(*name), true));
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
    if (const Json& tokens = member(config, key); tokens.is_array())
      for (const Json& token : tokens) add_special(to_added_token(token, true));
  set_bert_template(definition, definition.token_to_id(definition.cls_token),
                    definition.token_to_id(definition.sep_token));
  return definition;
}

void check(const TokenizerDefinition& definition) {
  if (!definition.vocab.contains(definition.unk_token))
    throw Error(ExitCode::model,
                fmt::format("its vocabulary has no token for unknown words, '{}'", definition.unk_token),
                "unk_token must name an entry of the vocabulary");
  for (const std::string& token : {definition.cls_token, definition.sep_token})
    if (definition.token_to_id(token) < 0)
      throw Error(ExitCode::model, fmt::format("its vocabulary has no token '{}'", token), not_bert_hint);
}

}  // namespace

std::int32_t TokenizerDefinition::token_to_id(const std::string& token) const {
  if (const auto added = added_tokens.ids().find(token); added != added_tokens.ids().end()) return added->second;
  const auto known = vocab.find(token);
  return known == vocab.end() ? -1 : known->second;
}

TokenizerDefinition read_tokenizer_definition(const fs::path& folder) {
  const fs::path json_path = folder / "tokenizer.json";
  const fs::path vocab_path = folder / "vocab.txt";
  const fs::path config_path = folder / "tokenizer_config.json";
  const bool has_json = fs::exists(json_path);
  if (!has_json && !fs::exists(vocab_path))
    throw Error(
        ExitCode::model, fmt::format("no tokenizer.json and no vocab.txt in '{}'", folder.string()),
        "model_name_or_path must be a model folder as Hugging Face's save_pretrained writes it, tokenizer included");
  const fs::path& path = has_json ? json_path : vocab_path;
  try {
    const Json config = fs::exists(config_path) ? read_json(config_path) : Json::object();
    TokenizerDefinition definition = has_json ? read_tokenizer_json(read_json(path), config)
                                              : read_vocab_txt(path, with_legacy_files(config, folder));
    check(definition);
    return definition;
  } catch (const Error& error) {
    throw Error(error.code(),
                fmt::format("'{}' is not a tokenizer that bertdist can use: {}", path.string(), error.what()),
                error.hint());
  } catch (const std::exception& error) {
    throw Error(ExitCode::model, fmt::format("'{}' does not describe a tokenizer: {}", path.string(), error.what()),
                "the file, or one beside it (tokenizer_config.json, special_tokens_map.json, added_tokens.json), is "
                "damaged; fetch the model again");
  }
}

}  // namespace bertdist
