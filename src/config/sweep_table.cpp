#include "config/sweep_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>

#include "base/nearest_name.h"
#include "config/given.h"
#include "config/option.h"
#include "config/sweep_names.h"
#include "config/toml_file.h"

namespace bertdist {
namespace {

using Distribution = SweepSpec::Distribution;
using Parameter = SweepSpec::Parameter;
using Type = SweepSpec::EarlyTerminate::Type;

template <typename E, std::size_t size>
E one_of(const Value& value, const SweepNames<E, size>& names, const std::string& hint = "") {
  std::vector<std::string_view> words;
  for (const auto& [name, meaning] : names) words.push_back(name);
  return names[value.one_of(words, hint)].second;
}

const toml::table& as_table(const Value& value, const std::string& expected) {
  const toml::table* table = value.node().as_table();
  if (!table) value.fail_expected(expected);
  return *table;
}

using Readers = std::map<std::string_view, std::function<void(const Value&)>>;

// Reads each of a table's entries with the reader of its name.
void read_entries(const toml::table& table, const std::string& file, const std::string& path, const Readers& readers) {
  for (const auto& [key, node] : in_order_of_lines(table)) {
    const auto reader = readers.find(key->str());
    if (reader == readers.end()) {
      std::vector<std::string_view> names;
      for (const auto& [name, read] : readers) names.push_back(name);
      const std::string_view nearest = nearest_name(key->str(), names);
      Value(path, *node, file)
          .fail(fmt::format("unknown key \"{}\"", key->str()),
                nearest.empty() ? fmt::format("the keys of {} are {}", path, fmt::join(names, ", "))
                                : fmt::format("did you mean \"{}\"?", nearest));
    }
    reader->second(Value(fmt::format("{}.{}", path, key->str()), *node, file));
  }
}

// What is left out follows from what is given, as in W&B.
Distribution default_distribution(const toml::table& table) {
  if (table.contains("value")) return Distribution::constant;
  if (table.contains("values")) return Distribution::categorical;
  const bool integers =
      table.get("min") && table.get("min")->is_integer() && table.get("max") && table.get("max")->is_integer();
  return integers ? Distribution::int_uniform : Distribution::uniform;
}

std::vector<std::string_view> keys_of(Distribution distribution) {
  switch (distribution) {
    case Distribution::constant:
      return {"value"};
    case Distribution::categorical:
      return {"values"};
    case Distribution::normal:
      return {"mu", "sigma"};
    case Distribution::q_uniform:
      return {"min", "max", "q"};
    default:
      return {"min", "max"};
  }
}

void require_fitting_keys(const Value& value, const toml::table& table, Distribution distribution) {
  const std::string_view name = name_of(kDistributionNames, distribution);
  const std::vector<std::string_view> wanted = keys_of(distribution);
  for (const auto& [key, node] : table) {
    if (key.str() == "distribution" || std::find(wanted.begin(), wanted.end(), key.str()) != wanted.end()) continue;
    value.element(node).fail(fmt::format("\"{}\" means nothing to the distribution {}", key.str(), name),
                             fmt::format("{} is described by {}", name, fmt::join(wanted, ", ")));
  }
  for (const std::string_view key : wanted) {
    const bool has_default = key == "q" || key == "mu" || key == "sigma";
    if (table.contains(key) || has_default) continue;
    value.fail(fmt::format("\"{}\" is missing", key),
               fmt::format("{} is described by {}", name, fmt::join(wanted, ", ")));
  }
}

void require_range(const Value& value, const Parameter& parameter) {
  const bool is_log = parameter.distribution == Distribution::log_uniform_values;
  if (parameter.distribution == Distribution::normal) return;
  if (is_log && parameter.min <= 0) value.fail("min must be above 0", "log_uniform_values draws the logarithm");
  if (parameter.max < parameter.min) value.fail("max is below min");
}

Parameter read_parameter(std::string name, const Value& value, const std::string& file) {
  const toml::table& table = as_table(value,
                                      "a table such as {values = [8, 16]} or {min = 1e-5, max = 1e-3, distribution = "
                                      "\"log_uniform_values\"}");
  Parameter parameter;
  parameter.name = std::move(name);
  parameter.distribution = default_distribution(table);
  const std::string hint = fmt::format("the distributions are {}", fmt::join(names_in(kDistributionNames), ", "));
  const auto bound = [&](double Parameter::*member) {
    return [&parameter, member](const Value& v) {
      parameter.*member =
          parameter.distribution == Distribution::int_uniform ? static_cast<double>(v.integer({})) : v.number({});
    };
  };
  if (const toml::node* given = table.get("distribution")) {
    parameter.distribution = one_of(
        Value(fmt::format("sweep.parameters.{}.distribution", parameter.name), *given, file), kDistributionNames, hint);
  }
  require_fitting_keys(value, table, parameter.distribution);
  read_entries(table, file, fmt::format("sweep.parameters.{}", parameter.name),
               {{"value", [&](const Value& v) { parameter.values = {toml_text(v.node())}; }},
                {"values",
                 [&](const Value& v) {
                   const toml::array* list = v.node().as_array();
                   if (!list || list->empty()) v.fail_expected("a list of values");
                   for (const auto& element : *list) parameter.values.push_back(toml_text(element));
                 }},
                {"distribution", [](const Value&) {}},
                {"min", bound(&Parameter::min)},
                {"max", bound(&Parameter::max)},
                {"q", [&](const Value& v) { parameter.q = v.number(above(0)); }},
                {"mu", [&](const Value& v) { parameter.mu = v.number({}); }},
                {"sigma", [&](const Value& v) { parameter.sigma = v.number(above(0)); }}});
  if (parameter.values.empty()) require_range(value, parameter);
  parameter.whole_numbers = parameter.distribution == Distribution::q_uniform && table.get("min")->is_integer() &&
                            table.get("max")->is_integer() && (!table.get("q") || table.get("q")->is_integer());
  return parameter;
}

std::vector<Parameter> read_parameters(const Value& value, const std::string& file) {
  const toml::table& table = as_table(value, "a table [sweep.parameters]");
  std::vector<Parameter> parameters;
  for (const auto& [key, node] : in_order_of_lines(table)) {
    const Value parameter(fmt::format("sweep.parameters.{}", key->str()), *node, file);
    const toml::source_position begin = key->source().begin;
    if (!find_option(key->str())) {
      fail_unknown_key(fmt::format("{}:{}:{}: sweep.parameters: ", file, begin.line, begin.column), key->str());
    }
    for (const std::string_view of_the_sweep : {"output_dir", "overwrite_output_dir", "resume_from_checkpoint"}) {
      if (key->str() != of_the_sweep) continue;
      parameter.fail("it is the sweep's own and cannot be a parameter", "each trial has a folder of its own");
    }
    parameters.push_back(read_parameter(std::string(key->str()), parameter, file));
  }
  if (parameters.empty()) value.fail("there is no parameter", "for example learning_rate = {values = [1e-4, 2e-4]}");
  return parameters;
}

void read_metric(const Value& value, const std::string& file, SweepSpec::Metric& metric) {
  const Option* option = find_option("metric_for_best_model");
  const toml::table& table = as_table(value, "a table {name = \"eval_accuracy\", goal = \"maximize\"}");
  read_entries(table, file, "sweep.metric",
               {{"name",
                 [&](const Value& v) {
                   Config config;
                   option->read(v, config);
                   metric.name = config.metric_for_best_model;
                 }},
                {"goal", [&](const Value& v) { metric.maximize = one_of(v, kGoalNames); }}});
  if (!table.contains("goal") && metric.name != "loss") {
    value.fail("\"goal\" is missing", "minimize is what it means in W&B, and seldom what is wanted of " + metric.name);
  }
}

void read_early_terminate(const Value& value, const std::string& file, SweepSpec::EarlyTerminate& stop) {
  const toml::table& table = as_table(value, "a table [sweep.early_terminate]");
  read_entries(
      table, file, "sweep.early_terminate",
      {{"type", [&](const Value& v) { stop.type = one_of(v, kEarlyTerminateNames, "the types are asha and median"); }},
       {"grace_period", [&](const Value& v) { stop.grace_period = v.integer(at_least(1)); }},
       {"max_t", [&](const Value& v) { stop.max_t = v.integer(at_least(1)); }},
       {"reduction_factor", [&](const Value& v) { stop.reduction_factor = v.integer(at_least(2)); }},
       {"min_samples_required", [&](const Value& v) { stop.min_samples_required = v.integer(at_least(1)); }}});
  const auto require = [&](const char* key, bool wanted, const char* meaning) {
    if (table.contains(key) == wanted) return;
    value.fail(fmt::format("\"{}\" {}", key, wanted ? "is missing" : "means nothing to this type"), meaning);
  };
  require("type", true, "the types are asha and median");
  if (stop.type == Type::asha) {
    require("max_t", true, "the evaluations of a whole trial: with one an epoch, num_train_epochs");
    require("min_samples_required", false, "it belongs to the type median");
    if (stop.max_t <= stop.grace_period) value.fail("max_t must be above grace_period");
  } else {
    require("max_t", false, "it belongs to the type asha");
    require("reduction_factor", false, "it belongs to the type asha");
  }
}

}  // namespace

SweepSpec read_sweep_table(const Value& value, const std::string& file) {
  SweepSpec spec;
  const toml::table& table = as_table(value, "a table [sweep]");
  read_entries(
      table, file, "sweep",
      {{"method",
        [&](const Value& v) { spec.method = one_of(v, kMethodNames, "the methods are grid, random and sobol"); }},
       {"metric", [&](const Value& v) { read_metric(v, file, spec.metric); }},
       {"parameters", [&](const Value& v) { spec.parameters = read_parameters(v, file); }},
       {"run_cap", [&](const Value& v) { spec.run_cap = v.integer(between(1, 1e6)); }},
       {"seed", [&](const Value& v) { spec.seed = v.integer(at_least(0)); }},
       {"ranks_per_trial", [&](const Value& v) { spec.ranks_per_trial = v.integer(at_least(1)); }},
       {"max_failures", [&](const Value& v) { spec.max_failures = v.integer(at_least(0)); }},
       {"save_trials", [&](const Value& v) { spec.save_trials = one_of(v, kSaveTrialsNames); }},
       {"early_terminate", [&](const Value& v) { read_early_terminate(v, file, spec.early_terminate); }}});
  for (const char* key : {"method", "parameters"}) {
    if (!table.contains(key)) value.fail(fmt::format("\"{}\" is missing", key), "see docs/sweeps.md");
  }
  if (spec.method != SweepSpec::Method::grid && !spec.run_cap) {
    value.fail("\"run_cap\" is missing: a search that draws its trials has no end of its own",
               "set run_cap to the number of trials");
  }
  for (const Parameter& parameter : spec.parameters) {
    const bool has_end = parameter.distribution == Distribution::q_uniform ||
                         parameter.distribution == Distribution::int_uniform || !parameter.values.empty();
    if (spec.method != SweepSpec::Method::grid || has_end) continue;
    value.fail(fmt::format("a grid cannot list the values of {}, which is {}", parameter.name,
                           name_of(kDistributionNames, parameter.distribution)),
               "give it values, or use the method random or sobol");
  }
  return spec;
}

}  // namespace bertdist
