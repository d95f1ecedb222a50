#include "pretrained/bert_config.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "base/error.h"
#include "pretrained/json_file.h"

namespace bertdist {
using nlohmann::json;

namespace {

// Far above any BERT; what a damaged file asks for beyond them must not become an allocation.
constexpr std::int64_t max_size = 1 << 24;
constexpr std::int64_t max_num_layers = 4096;
constexpr std::int64_t max_num_labels = 1 << 20;

constexpr std::array<std::string_view, 9> known_activations = {
    "gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "relu", "silu", "swish"};
constexpr std::array<std::string_view, 3> known_problem_types = {"single_label_classification",
                                                                 "multi_label_classification", "regression"};

bool is_between(const json& value, std::int64_t minimum, std::int64_t maximum) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(maximum)) return false;
  return value.get<std::int64_t>() >= minimum && value.get<std::int64_t>() <= maximum;
}

class Reader {
 public:
  Reader(const json& object, const std::string& source) : json_(object), source_(source) {}

  [[noreturn]] void fail(std::string_view key, std::string_view problem) const {
    throw Error(ExitCode::model, fmt::format("{}: {} {}", source_, key, problem));
  }

  // A key that is absent or null is none.
  const json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  void read_size(const char* key, std::int64_t& value, std::int64_t maximum = max_size) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_number_integer()) fail(key, fmt::format("= {} is not a whole number", found->dump()));
    if (!is_between(*found, 1, maximum)) fail(key, fmt::format("= {} is not between 1 and {}", found->dump(), maximum));
    value = found->get<std::int64_t>();
  }

  template <typename Value>
  void read_number(const char* key, Value& value, double minimum, double below) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_number()) fail(key, fmt::format("= {} is not a number", found->dump()));
    const double number = found->get<double>();
    if (!(number >= minimum && number < below)) {
      fail(key, fmt::format("= {} is not in the range from {} to below {}", found->dump(), minimum, below));
    }
    value = number;
  }

  void read_text(const char* key, std::string& value, std::span<const std::string_view> allowed) const {
    const json* found = find(key);
    if (!found) return;
    if (!found->is_string()) fail(key, fmt::format("= {} is not a text", found->dump()));
    value = found->get<std::string>();
    if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
      fail(key, fmt::format("= \"{}\" is not supported; supported: {}", value, fmt::join(allowed, ", ")));
    }
  }

  void refuse(const char* key) const {
    const json* found = find(key);
    if (found && *found != false && !found->empty()) fail(key, "is not supported: bertdist runs plain BERT encoders");
  }

 private:
  const json& json_;
  const std::string& source_;
};

std::vector<std::string> default_labels(std::int64_t num_labels) {
  std::vector<std::string> labels;
  for (std::int64_t i = 0; i < num_labels; ++i) labels.push_back(fmt::format("LABEL_{}", i));
  return labels;
}

std::vector<std::string> read_labels(const Reader& reader) {
  const json* id2label = reader.find("id2label");
  if (!id2label) {
    std::int64_t num_labels = 2;
    reader.read_size("num_labels", num_labels, max_num_labels);
    return default_labels(num_labels);
  }
  if (!id2label->is_object() || id2label->empty()) reader.fail("id2label", "is not a map from ids to labels");
  std::vector<std::string> labels;
  for (std::size_t id = 0; id < id2label->size(); ++id) {
    const auto label = id2label->find(std::to_string(id));
    if (label == id2label->end() || !label->is_string()) {
      reader.fail("id2label", fmt::format("has no text for id {} though it has {} entries", id, id2label->size()));
    }
    labels.push_back(label->get<std::string>());
  }
  return labels;
}

}  // namespace

BertConfig BertConfig::from_json(const json& object, const std::string& source) {
  if (!object.is_object()) throw Error(ExitCode::model, fmt::format("{}: this is not a JSON object", source));
  const Reader reader(object, source);
  BertConfig config;
  std::string model_type = "bert";
  std::string position_embedding_type = "absolute";
  reader.read_text("model_type", model_type, std::array<std::string_view, 1>{"bert"});
  reader.read_text("position_embedding_type", position_embedding_type, std::array<std::string_view, 1>{"absolute"});
  for (const char* key : {"is_decoder", "add_cross_attention", "pruned_heads"}) reader.refuse(key);

  reader.read_size("vocab_size", config.vocab_size);
  reader.read_size("hidden_size", config.hidden_size);
  reader.read_size("num_hidden_layers", config.num_hidden_layers, max_num_layers);
  reader.read_size("num_attention_heads", config.num_attention_heads);
  reader.read_size("intermediate_size", config.intermediate_size);
  reader.read_size("max_position_embeddings", config.max_position_embeddings);
  reader.read_size("type_vocab_size", config.type_vocab_size);
  reader.read_text("hidden_act", config.hidden_act, known_activations);
  reader.read_number("hidden_dropout_prob", config.hidden_dropout_prob, 0, 1);
  reader.read_number("attention_probs_dropout_prob", config.attention_probs_dropout_prob, 0, 1);
  reader.read_number("classifier_dropout", config.classifier_dropout, 0, 1);
  reader.read_number("initializer_range", config.initializer_range, 0, 1e3);
  reader.read_number("layer_norm_eps", config.layer_norm_eps, 0, 1);
  reader.read_text("problem_type", config.problem_type, known_problem_types);
  if (config.hidden_size % config.num_attention_heads != 0) {
    reader.fail("hidden_size", fmt::format("= {} is not a multiple of num_attention_heads = {}", config.hidden_size,
                                           config.num_attention_heads));
  }
  if (object.contains("pad_token_id")) {
    const json& pad = object["pad_token_id"];
    const bool valid = pad.is_null() || is_between(pad, 0, config.vocab_size - 1);
    if (!valid) reader.fail("pad_token_id", fmt::format("= {} is not an id of the vocabulary", pad.dump()));
    config.pad_token_id = pad.is_null() ? std::nullopt : std::optional(pad.get<std::int64_t>());
  }
  config.id2label = read_labels(reader);
  config.original = object;
  return config;
}

BertConfig BertConfig::from_file(const std::filesystem::path& path) {
  return from_json(read_json_file(path), path.string());
}

json BertConfig::to_json() const {
  json result = original;
  result.update({{"model_type", "bert"},
                 {"architectures", {"BertForSequenceClassification"}},
                 {"dtype", "float32"},
                 {"vocab_size", vocab_size},
                 {"hidden_size", hidden_size},
                 {"num_hidden_layers", num_hidden_layers},
                 {"num_attention_heads", num_attention_heads},
                 {"intermediate_size", intermediate_size},
                 {"max_position_embeddings", max_position_embeddings},
                 {"type_vocab_size", type_vocab_size},
                 {"hidden_act", hidden_act},
                 {"hidden_dropout_prob", hidden_dropout_prob},
                 {"attention_probs_dropout_prob", attention_probs_dropout_prob},
                 {"initializer_range", initializer_range},
                 {"layer_norm_eps", layer_norm_eps}});
  result["classifier_dropout"] = classifier_dropout ? json(*classifier_dropout) : json();
  result["pad_token_id"] = pad_token_id ? json(*pad_token_id) : json();
  if (!problem_type.empty()) result["problem_type"] = problem_type;
  result["id2label"] = json::object();
  result["label2id"] = json::object();
  for (std::size_t id = 0; id < id2label.size(); ++id) {
    result["id2label"][std::to_string(id)] = id2label[id];
    result["label2id"][id2label[id]] = id;
  }
  // Older names for the same things, which would contradict what is written above.
  for (const char* key : {"torch_dtype", "num_labels", "_num_labels", "_name_or_path"}) result.erase(key);
  return result;
}

bool BertConfig::is_fine_tuned_classifier() const {
  const auto architectures = original.find("architectures");
  return architectures != original.end() && architectures->is_array() &&
         std::find(architectures->begin(), architectures->end(), "BertForSequenceClassification") !=
             architectures->end();
}

bool BertConfig::names_its_labels() const {
  for (std::size_t id = 0; id < id2label.size(); ++id) {
    if (id2label[id] != fmt::format("LABEL_{}", id)) return true;
  }
  return false;
}

}  // namespace bertdist
