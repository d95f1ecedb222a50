#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "base/error.h"
#include "model/bert.h"
#include "model/initial_parameter.h"
#include "model/safetensors.h"
#include "pretrained/model_folder.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

struct Stored {
  const SafetensorsFile* file;
  std::string name;  // in the file
};

// The tensors of a folder under their names in the model; `files` owns what they point to.
struct StoredTensors {
  std::vector<SafetensorsFile> files;
  std::map<std::string, Stored> by_name;

  explicit StoredTensors(const fs::path& folder);
  StoredTensors(const StoredTensors&) = delete;
  StoredTensors& operator=(const StoredTensors&) = delete;

  bool has_module_of(const std::string& parameter) const {
    const std::string module = parameter.substr(0, parameter.rfind('.'));
    return by_name.contains(module + ".weight") || by_name.contains(module + ".bias");
  }
};

// The name that a tensor of a checkpoint has in the model: without "bert." exports of the encoder alone add it, and
// LayerNorms are gamma and beta in checkpoints that TensorFlow's were converted to.
std::string model_name(std::string name) {
  for (const auto& [old_end, new_end] :
       {std::pair<std::string_view, std::string_view>{".gamma", ".weight"}, {".beta", ".bias"}}) {
    if (name.ends_with(std::string("LayerNorm").append(old_end))) {
      name.replace(name.size() - old_end.size(), old_end.size(), new_end);
    }
  }
  for (const std::string_view module : {"embeddings.", "encoder.", "pooler."}) {
    if (name.starts_with(module)) return "bert." + name;
  }
  return name;
}

// Not a parameter: old transformers saved the numbers 0 to max_position_embeddings - 1.
bool is_buffer(std::string_view name) {
  return name.ends_with("embeddings.position_ids");
}

bool is_head(std::string_view name) {
  return name.starts_with("bert.pooler.") || name.starts_with("classifier.");
}

StoredTensors::StoredTensors(const fs::path& folder) {
  for (const fs::path& path : find_weight_files(folder)) files.emplace_back(path);
  for (const SafetensorsFile& file : files) {
    for (const auto& [name, entry] : file.entries()) {
      const auto [place, is_new] = by_name.emplace(model_name(name), Stored{&file, name});
      if (!is_new) {
        throw Error(ExitCode::model,
                    fmt::format("'{}' of '{}' and '{}' of '{}' are both {}", place->second.name,
                                place->second.file->path().string(), name, file.path().string(), place->first));
      }
    }
  }
}

void check_shape(const ParameterSpec& spec, const Stored& stored, const fs::path& folder) {
  const std::vector<std::int64_t>& shape = stored.file->entries().at(stored.name).shape;
  if (shape == spec.shape) return;
  const bool is_classifier = spec.name.starts_with("classifier.");
  throw Error(ExitCode::model,
              fmt::format("tensor '{}' of '{}' has shape [{}], but the model needs [{}]", stored.name,
                          stored.file->path().string(), fmt::join(shape, ", "), fmt::join(spec.shape, ", ")),
              is_classifier
                  ? "the checkpoint was trained for another number of labels: give data with the same labels, or "
                    "start from the checkpoint that it was fine-tuned from, which has no classifier yet"
                  : fmt::format("'{}' does not belong to these weights", (folder / "config.json").string()));
}

// Every parameter is stored with its shape, or is one of a head that the folder lacks altogether.
void check_tensors(const std::vector<ParameterSpec>& specs, const StoredTensors& stored, const fs::path& folder) {
  for (const ParameterSpec& spec : specs) {
    const auto found = stored.by_name.find(spec.name);
    if (found != stored.by_name.end()) {
      check_shape(spec, found->second, folder);
    } else if (!is_head(spec.name) || stored.has_module_of(spec.name)) {
      throw Error(ExitCode::model, fmt::format("'{}' has no tensor '{}'", folder.string(), spec.name),
                  "its config.json asks for it; is this a BERT checkpoint, and completely downloaded?");
    }
  }
}

BertConfig read_config(const fs::path& folder, const PretrainedOptions& options) {
  BertConfig config = BertConfig::from_file(folder / "config.json");
  if (!options.id2label.empty()) config.id2label = options.id2label;
  if (!options.problem_type.empty()) config.problem_type = options.problem_type;
  if (options.classifier_dropout) config.classifier_dropout = options.classifier_dropout;
  return config;
}

}  // namespace

void BertForSequenceClassification::check_pretrained(const fs::path& folder) {
  std::vector<ParameterSpec> specs = bert_parameter_specs(BertConfig::from_file(folder / "config.json"));
  std::erase_if(specs, [](const ParameterSpec& spec) { return spec.name.starts_with("classifier."); });
  check_tensors(specs, StoredTensors(folder), folder);
}

BertForSequenceClassification BertForSequenceClassification::from_pretrained(const fs::path& folder,
                                                                             const PretrainedOptions& options,
                                                                             LoadReport& report) {
  BertConfig config = read_config(folder, options);
  const StoredTensors stored(folder);
  const std::vector<ParameterSpec> specs = bert_parameter_specs(config);
  check_tensors(specs, stored, folder);

  // Only now that everything is known to fit is memory taken for what the config asks for.
  report = {};
  std::vector<NamedParameter> parameters;
  std::set<std::string> used;
  for (const ParameterSpec& spec : specs) {
    const auto found = stored.by_name.find(spec.name);
    if (found == stored.by_name.end()) {
      report.initialized.push_back(spec.name);
      parameters.push_back({spec.name, initial_parameter(spec, config, options.seed)});
    } else {
      used.insert(spec.name);
      // The model's own memory: it is written to, and must survive the file.
      parameters.push_back({spec.name, found->second.file->tensor(found->second.name).clone()});
    }
  }
  for (const auto& [name, tensor] : stored.by_name) {
    if (!used.contains(name) && !is_buffer(name)) report.unused.push_back(tensor.name);
  }
  for (NamedParameter& parameter : parameters) parameter.tensor.set_requires_grad(true);
  return BertForSequenceClassification(std::move(config), std::move(parameters));
}

BertForSequenceClassification BertForSequenceClassification::from_config(BertConfig config, std::uint64_t seed) {
  std::vector<NamedParameter> parameters;
  for (const ParameterSpec& spec : bert_parameter_specs(config)) {
    parameters.push_back({spec.name, initial_parameter(spec, config, seed).set_requires_grad(true)});
  }
  return BertForSequenceClassification(std::move(config), std::move(parameters));
}

}  // namespace bertdist
