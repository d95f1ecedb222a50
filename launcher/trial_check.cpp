#include "trial_check.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "base/error.h"
#include "model_source.h"
#include "pretrained/model_folder.h"

namespace bertdist {

namespace {

std::optional<std::filesystem::path> find_model_folder(const std::string& name_or_path) {
  try {
    return resolve_model_folder(name_or_path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Of a thousand trials few differ in it.
auto what_is_checked(const Config& config) {
  return std::tuple(config.model_name_or_path, config.max_seq_length, config.freeze.kind, config.freeze.first_layers,
                    config.freeze.patterns);
}

}  // namespace

std::vector<std::string> check_trials_with_models(const std::vector<Trial>& trials) {
  std::map<std::string, std::optional<BertConfig>> models;  // nothing for those that are not here
  std::set<decltype(what_is_checked({}))> seen;
  for (const Trial& trial : trials) {
    if (!seen.insert(what_is_checked(trial.config)).second) continue;
    const std::string& name = trial.config.model_name_or_path;
    try {
      const auto [model, is_new] = models.try_emplace(name);
      if (is_new) {
        if (const auto folder = find_model_folder(name)) model->second = BertConfig::from_file(*folder / "config.json");
      }
      if (model->second) check_with_model(trial.config, *model->second);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("trial {}: {}", trial.index, error.what()), error.hint());
    }
  }
  std::vector<std::string> not_here;
  for (const auto& [name, model] : models) {
    if (!model) not_here.push_back(name);
  }
  return not_here;
}

}  // namespace bertdist
