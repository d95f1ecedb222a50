#include "data/label_map.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "tokenizer/character_classes.h"
#include "tokenizer/utf8.h"

namespace bertdist {

namespace {

// An integer in its usual spelling; "01", "+1" and "1.0" are names.
std::optional<std::int64_t> as_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || fmt::format("{}", value) != text) return std::nullopt;
  return value;
}

bool is_integer(std::string_view text) {
  return as_integer(text).has_value();
}

std::string list_names(const std::vector<std::string>& names) {
  constexpr std::size_t kMaxListed = 20;
  const std::size_t listed = std::min(names.size(), kMaxListed);
  std::string list;
  for (std::size_t i = 0; i < listed; ++i) list += fmt::format("{}'{}'", i == 0 ? "" : ", ", names[i]);
  return listed == names.size() ? list : fmt::format("{} and {} more", list, names.size() - listed);
}

bool is_blank(char32_t c) {
  return c == U' ' || (c >= U'\t' && c <= U'\r') || c == U'\u00A0' || c == U'\u3000';
}

// Without whitespace, in lower case.
std::string folded(std::string_view name) {
  std::string valid;
  if (utf8::replace_invalid(name, valid) > 0) name = valid;
  std::string text;
  for (std::size_t at = 0; at < name.size();) {
    const char32_t c = utf8::decode(name, at);
    if (is_blank(c)) continue;
    const Lowercase lower = to_lowercase(c);
    for (int i = 0; i < lower.size; ++i) utf8::append(text, lower.code_points[i]);
  }
  return text;
}

void require_consecutive(std::vector<std::string> values, std::string_view where) {
  std::sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return *as_integer(a) < *as_integer(b); });
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (*as_integer(values[i]) == static_cast<std::int64_t>(i)) continue;
    throw Error(ExitCode::data,
                fmt::format("the integer labels in {} are {}: they must be 0 to {} without a gap", where,
                            list_names(values), values.size() - 1),
                "number them from 0, or map them, for example label2id = {\"1\" = 0, \"2\" = 1}");
  }
}

}  // namespace

LabelMap::LabelMap(std::vector<std::string> names) : names_(std::move(names)) {
  for (std::size_t id = 0; id < names_.size(); ++id) {
    if (ids_.emplace(names_[id], static_cast<std::int64_t>(id)).second) continue;
    throw Error(ExitCode::configuration,
                fmt::format("ids {} and {} have the same label '{}'", ids_[names_[id]], id, names_[id]),
                "give each id a label of its own");
  }
}

LabelMap LabelMap::from_label2id(const std::map<std::string, std::int64_t>& label2id) {
  std::vector<std::string> names(label2id.size());
  std::vector<bool> given(label2id.size());
  for (const auto& [label, id] : label2id) {
    if (id < 0 || id >= static_cast<std::int64_t>(names.size()) || given[static_cast<std::size_t>(id)]) {
      throw Error(ExitCode::configuration, fmt::format("label2id gives '{}' the id {}", label, id),
                  fmt::format("the ids of {} labels are 0 to {}, each once", names.size(), names.size() - 1));
    }
    names[static_cast<std::size_t>(id)] = label;
    given[static_cast<std::size_t>(id)] = true;
  }
  return LabelMap(std::move(names));
}

LabelMap LabelMap::from_values(const std::vector<std::string>& values, std::string_view where) {
  if (values.size() < 2) {
    throw Error(ExitCode::data,
                values.empty() ? fmt::format("there is no label in {}", where)
                               : fmt::format("the only label in {} is '{}'", where, values[0]),
                "a classifier needs two labels at least; id2label can name those that the file does not hold");
  }
  std::vector<std::string> names = values;
  std::sort(names.begin(), names.end());
  if (std::all_of(names.begin(), names.end(), is_integer)) {
    require_consecutive(names, where);
    for (std::size_t id = 0; id < names.size(); ++id) names[id] = fmt::format("LABEL_{}", id);
  }
  return LabelMap(std::move(names));
}

std::optional<std::int64_t> LabelMap::id_of(std::string_view label) const {
  const auto found = ids_.find(std::string(label));
  if (found != ids_.end()) return found->second;
  const std::optional<std::int64_t> id = as_integer(label);
  if (!id || *id < 0 || *id >= num_labels() || std::any_of(names_.begin(), names_.end(), is_integer))
    return std::nullopt;
  return id;
}

std::optional<std::pair<std::string, std::string>> LabelMap::look_alikes() const {
  std::unordered_map<std::string, std::string> seen;
  for (const std::string& name : names_) {
    const auto [first, is_new] = seen.emplace(folded(name), name);
    if (!is_new) return std::pair(first->second, name);
  }
  return std::nullopt;
}

std::string LabelMap::describe() const {
  const bool ids_are_labels = std::none_of(names_.begin(), names_.end(), is_integer);
  return list_names(names_) + (ids_are_labels && !names_.empty() ? fmt::format(", or 0 to {}", names_.size() - 1) : "");
}

}  // namespace bertdist
