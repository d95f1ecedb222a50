#include "pretrained/freeze_spec.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/nearest_name.h"
#include "pretrained/bert_parameters.h"

namespace bertdist {

namespace {

bool matches(const std::string& name, const std::string& pattern) {
  return is_in_module(name, pattern) || ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

// The parameters and modules whose names are most like the pattern.
std::vector<std::string> nearest_names(const std::vector<ParameterSpec>& parameters, const std::string& pattern) {
  std::set<std::string> names;
  for (const ParameterSpec& parameter : parameters) {
    for (std::string name = parameter.name;; name.resize(name.rfind('.'))) {
      names.insert(name);
      if (name.find('.') == std::string::npos) break;
    }
  }
  std::vector<std::pair<std::size_t, std::string>> ranked;
  for (const std::string& name : names) ranked.emplace_back(edit_distance(name, pattern), name);
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, ranked.size()); ++i) nearest.push_back(ranked[i].second);
  return nearest;
}

}  // namespace

bool is_in_module(std::string_view name, std::string_view module) {
  if (module.ends_with('.')) module.remove_suffix(1);
  return name.starts_with(module) && (name.size() == module.size() || name[module.size()] == '.');
}

bool is_frozen(const std::string& parameter, const FreezeSpec& spec) {
  switch (spec.kind) {
    case FreezeSpec::Kind::none:
      return false;
    case FreezeSpec::Kind::base:
      return is_in_module(parameter, "bert");
    case FreezeSpec::Kind::base_except_pooler:
      return is_in_module(parameter, "bert") && !is_in_module(parameter, "bert.pooler");
    case FreezeSpec::Kind::embeddings:
      return is_in_module(parameter, "bert.embeddings");
    case FreezeSpec::Kind::first_layers:
      for (std::int64_t layer = 0; layer < spec.first_layers; ++layer) {
        if (is_in_module(parameter, fmt::format("bert.encoder.layer.{}", layer))) return true;
      }
      return is_in_module(parameter, "bert.embeddings");
    case FreezeSpec::Kind::patterns:
      return std::any_of(spec.patterns.begin(), spec.patterns.end(),
                         [&](const std::string& pattern) { return matches(parameter, pattern); });
  }
  return false;
}

void check_freezing(const BertConfig& config, const FreezeSpec& spec) {
  const std::int64_t num_layers = config.num_hidden_layers;
  if (spec.kind == FreezeSpec::Kind::first_layers && (spec.first_layers < 0 || spec.first_layers > num_layers)) {
    throw Error(ExitCode::configuration,
                fmt::format("freeze: first_layers = {} of a model with {} layers", spec.first_layers, num_layers),
                fmt::format("choose one of 0 to {}; the embeddings are frozen too", num_layers));
  }
  const std::vector<ParameterSpec> parameters = bert_parameter_specs(config);
  for (const std::string& pattern : spec.patterns) {
    if (std::ranges::any_of(parameters, [&](const ParameterSpec& p) { return matches(p.name, pattern); })) continue;
    throw Error(
        ExitCode::configuration, fmt::format("freeze: no parameter matches '{}'", pattern),
        fmt::format("names like it: {}; * stands for any text", fmt::join(nearest_names(parameters, pattern), ", ")));
  }
  if (std::ranges::all_of(parameters, [&](const ParameterSpec& p) { return is_frozen(p.name, spec); })) {
    throw Error(ExitCode::configuration, "freeze: every parameter is frozen, which leaves nothing to train",
                "leave at least the classifier out: freeze = \"base\"");
  }
}

}  // namespace bertdist
