#include "pretrained/bert_parameters.h"

#include <fmt/core.h>

namespace bertdist {

namespace {

void add_linear(std::vector<ParameterSpec>& specs, const std::string& module, std::int64_t out, std::int64_t in) {
  specs.push_back({module + ".weight", {out, in}});
  specs.push_back({module + ".bias", {out}});
}

void add_layer_norm(std::vector<ParameterSpec>& specs, const std::string& module, std::int64_t hidden) {
  specs.push_back({module + ".weight", {hidden}});
  specs.push_back({module + ".bias", {hidden}});
}

}  // namespace

std::vector<ParameterSpec> bert_parameter_specs(const BertConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  std::vector<ParameterSpec> specs = {
      {"bert.embeddings.word_embeddings.weight", {config.vocab_size, hidden}},
      {"bert.embeddings.position_embeddings.weight", {config.max_position_embeddings, hidden}},
      {"bert.embeddings.token_type_embeddings.weight", {config.type_vocab_size, hidden}}};
  add_layer_norm(specs, "bert.embeddings.LayerNorm", hidden);
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    const std::string layer = fmt::format("bert.encoder.layer.{}", index);
    for (const char* projection : {"query", "key", "value"}) {
      add_linear(specs, fmt::format("{}.attention.self.{}", layer, projection), hidden, hidden);
    }
    add_linear(specs, layer + ".attention.output.dense", hidden, hidden);
    add_layer_norm(specs, layer + ".attention.output.LayerNorm", hidden);
    add_linear(specs, layer + ".intermediate.dense", config.intermediate_size, hidden);
    add_linear(specs, layer + ".output.dense", hidden, config.intermediate_size);
    add_layer_norm(specs, layer + ".output.LayerNorm", hidden);
  }
  add_linear(specs, "bert.pooler.dense", hidden, hidden);
  add_linear(specs, "classifier", config.num_labels(), hidden);
  return specs;
}

}  // namespace bertdist
