// The options whose values have a structure of their own: freezing, the names of labels, and those of tables.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "config/option.h"
#include "config/toml_text.h"

namespace bertdist {
namespace {

using Kind = Config::Freeze::Kind;

constexpr std::array<std::pair<std::string_view, Kind>, 4> kFreezeNames{
    {{"none", Kind::none},
     {"base", Kind::base},
     {"base_except_pooler", Kind::base_except_pooler},
     {"embeddings", Kind::embeddings}}};

Config::Freeze freeze_by_name(const Value& value) {
  std::vector<std::string_view> names;
  for (const auto& [name, kind] : kFreezeNames) names.push_back(name);
  const std::string hint =
      "layers are frozen by {first_layers = 4}, parameters by a list of patterns: [\"bert.encoder.*\"]";
  return {.kind = kFreezeNames[value.one_of(names, hint)].second, .patterns = {}};
}

Config::Freeze freeze_by_layers(const Value& value, const toml::table& table) {
  for (const auto& [key, node] : table) {
    if (key.str() != "first_layers") {
      value.element(node).fail(fmt::format("unknown key \"{}\" in the table", key.str()),
                               "the table is {first_layers = <number of layers>}");
    }
  }
  const toml::node* layers = table.get("first_layers");
  if (!layers) value.fail("the table is empty", "the table is {first_layers = <number of layers>}");
  return {.kind = Kind::first_layers, .first_layers = value.element(*layers).integer(at_least(1)), .patterns = {}};
}

Config::Freeze freeze_by_patterns(const Value& value, const toml::array& list) {
  Config::Freeze freeze{.kind = Kind::patterns, .patterns = {}};
  for (const auto& node : list) freeze.patterns.push_back(value.element(node).text("a pattern of parameter names"));
  if (freeze.patterns.empty()) value.fail("the list of patterns is empty", "freeze = \"none\" freezes nothing");
  return freeze;
}

std::string freeze_text(const Config::Freeze& freeze) {
  if (freeze.kind == Kind::first_layers) return fmt::format("{{first_layers = {}}}", freeze.first_layers);
  if (freeze.kind == Kind::patterns) return toml_text(freeze.patterns);
  const auto named =
      std::find_if(kFreezeNames.begin(), kFreezeNames.end(), [&](const auto& n) { return n.second == freeze.kind; });
  return toml_text(named->first);
}

// names[id], from pairs in any order; every id from 0 must be there once and no name twice.
class LabelNames {
 public:
  explicit LabelNames(std::size_t size) : names_(size) {}

  void put(const Value& value, std::int64_t id, std::string name) {
    if (id < 0 || static_cast<std::size_t>(id) >= names_.size()) {
      value.fail(fmt::format("the label id {} is not one of 0 to {}", id, names_.size() - 1),
                 fmt::format("{} labels have the ids 0 to {}, each once", names_.size(), names_.size() - 1));
    }
    if (names_[id]) value.fail(fmt::format("the label id {} is given twice", id));
    if (std::find(names_.begin(), names_.end(), name) != names_.end()) {
      value.fail(fmt::format("the label {} is given twice", toml_text(std::string_view(name))));
    }
    names_[id] = std::move(name);
  }

  // `size` different ids below `size` are all of them.
  std::vector<std::string> take(const Value& value) {
    if (names_.size() < 2) value.fail("a classification needs at least two labels");
    std::vector<std::string> names;
    for (auto& name : names_) names.push_back(std::move(*name));
    return names;
  }

 private:
  std::vector<std::optional<std::string>> names_;
};

std::int64_t id_of_key(const Value& value, std::string_view key) {
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc{} || end != key.data() + key.size()) {
    value.fail(fmt::format("the key \"{}\" is not a label id", key), "the keys are the ids: {0 = \"no\", 1 = \"yes\"}");
  }
  return id;
}

std::vector<std::string> read_id2label(const Value& value) {
  const std::string expected = "a list of label names or a table of them by id";
  const std::string expected_name = "a label's name";
  if (const toml::array* list = value.node().as_array()) {
    LabelNames names(list->size());
    for (std::size_t id = 0; id < list->size(); ++id) {
      const Value name = value.element((*list)[id]);
      names.put(name, static_cast<std::int64_t>(id), name.text_or_integer(expected_name));
    }
    return names.take(value);
  }
  const toml::table* table = value.node().as_table();
  if (!table) value.fail_expected(expected);
  LabelNames names(table->size());
  for (const auto& [key, node] : *table) {
    const Value name = value.element(node);
    names.put(name, id_of_key(name, key.str()), name.text_or_integer(expected_name));
  }
  return names.take(value);
}

std::map<std::string, std::int64_t> read_label2id(const Value& value) {
  const toml::table* table = value.node().as_table();
  if (!table) value.fail_expected("a table of label ids by name");
  LabelNames names(table->size());
  std::map<std::string, std::int64_t> ids;
  for (const auto& [key, node] : *table) {
    const std::int64_t id = value.element(node).integer(at_least(0));
    names.put(value.element(node), id, std::string(key.str()));
    ids.emplace(key.str(), id);
  }
  names.take(value);
  return ids;
}

}  // namespace

Option freeze_option(About about, Config::Freeze Config::*member) {
  Option option = make_option(std::move(about), "WHAT",
                              "none, base, base_except_pooler, embeddings, {first_layers = k}, or a list of patterns",
                              Spelling::table);
  option.default_text = freeze_text(Config{}.*member);
  option.read = [member](const Value& value, Config& config) {
    if (const toml::table* table = value.node().as_table()) {
      config.*member = freeze_by_layers(value, *table);
    } else if (const toml::array* list = value.node().as_array()) {
      config.*member = freeze_by_patterns(value, *list);
    } else {
      config.*member = freeze_by_name(value);
    }
  };
  option.write = [member](const Config& config) { return std::optional(freeze_text(config.*member)); };
  return option;
}

Option id2label_option(About about) {
  Option option = make_option(std::move(about), "TABLE", "list of names, or table of names by id", Spelling::table);
  option.read = [](const Value& value, Config& config) { config.id2label = read_id2label(value); };
  option.write = [](const Config& config) {
    return config.id2label.empty() ? std::nullopt : std::optional(toml_text(config.id2label));
  };
  return option;
}

Option label2id_option(About about) {
  Option option = make_option(std::move(about), "TABLE", "table of ids by name", Spelling::table);
  option.read = [](const Value& value, Config& config) { config.label2id = read_label2id(value); };
  option.write = [](const Config& config) -> std::optional<std::string> {
    if (config.label2id.empty()) return std::nullopt;
    std::vector<std::string> entries;
    for (const auto& [name, id] : config.label2id) {
      entries.push_back(fmt::format("{} = {}", toml_text(std::string_view(name)), id));
    }
    return fmt::format("{{{}}}", fmt::join(entries, ", "));
  };
  return option;
}

Option debug_option(Option option) {
  option.read = [read = std::move(option.read)](const Value& value, Config& config) {
    read(value, config);
    config.debug = true;
  };
  option.write = [write = std::move(option.write)](const Config& config) {
    return config.debug ? write(config) : std::nullopt;
  };
  return option;
}

}  // namespace bertdist
