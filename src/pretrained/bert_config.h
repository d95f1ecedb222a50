#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace bertdist {

// A BERT's config.json with Hugging Face's names and defaults.
struct BertConfig {
  std::int64_t vocab_size = 30522;
  std::int64_t hidden_size = 768;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  std::int64_t intermediate_size = 3072;
  std::int64_t max_position_embeddings = 512;
  std::int64_t type_vocab_size = 2;
  std::string hidden_act = "gelu";
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  std::optional<double> classifier_dropout;  // hidden_dropout_prob where absent
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-12;
  std::optional<std::int64_t> pad_token_id = 0;  // its embedding gets no gradient
  std::vector<std::string> id2label = {"LABEL_0", "LABEL_1"};
  std::string problem_type;  // empty where the file names none

  // What was read, so that keys which bertdist does not know survive a save.
  nlohmann::json original = nlohmann::json::object();

  std::int64_t num_labels() const { return static_cast<std::int64_t>(id2label.size()); }
  // Whether the folder is one of a fine-tuned classifier (`architectures`), and whether its labels have names other
  // than the LABEL_0, LABEL_1, ... that stand for none.
  bool is_fine_tuned_classifier() const;
  bool names_its_labels() const;
  std::int64_t head_dim() const { return hidden_size / num_attention_heads; }
  double head_dropout_prob() const { return classifier_dropout.value_or(hidden_dropout_prob); }

  // Throws Error(model), naming `source` and the key, where a value is missing its type, out of range or asks for
  // something that bertdist does not do.
  static BertConfig from_json(const nlohmann::json& json, const std::string& source);
  static BertConfig from_file(const std::filesystem::path& path);

  // For the config.json of a sequence classifier with float32 weights.
  nlohmann::json to_json() const;
};

}  // namespace bertdist
