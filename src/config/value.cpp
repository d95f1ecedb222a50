#include "config/value.h"
#include "base/nearest_name.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "config/toml_text.h"

namespace bertdist {
namespace {

std::string describe(const toml::node& node) {
  if (const auto* text = node.as_string()) return "the string " + toml_text(std::string_view(text->get()));
  if (const auto* number = node.as_integer()) return "the integer " + toml_text(number->get());
  if (const auto* number = node.as_floating_point()) return "the number " + toml_text(number->get());
  if (const auto* truth = node.as_boolean()) return toml_text(truth->get());
  if (node.is_array()) return "a list";
  if (node.is_table()) return "a table";
  return "a date or time";
}

bool is_bare_key_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
}

}  // namespace

std::string toml_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return toml_text(std::string_view(text->get()));
  if (const auto* number = node.as_integer()) return toml_text(number->get());
  if (const auto* number = node.as_floating_point()) return toml_text(number->get());
  if (const auto* truth = node.as_boolean()) return toml_text(truth->get());
  std::vector<std::string> parts;
  if (const auto* list = node.as_array()) {
    for (const auto& element : *list) parts.push_back(toml_text(element));
    return fmt::format("[{}]", fmt::join(parts, ", "));
  }
  if (const auto* table = node.as_table()) {
    for (const auto& [key, value] : *table) {
      const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), is_bare_key_character);
      parts.push_back(fmt::format("{} = {}", bare ? std::string(key.str()) : toml_text(key.str()), toml_text(value)));
    }
    return fmt::format("{{{}}}", fmt::join(parts, ", "));
  }
  std::ostringstream text;
  node.visit([&](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>) text << value;
  });
  return std::move(text).str();
}

bool Range::holds(double value) const {
  return (without_min ? value > min : value >= min) && (without_max ? value < max : value <= max);
}

std::string Range::text() const {
  const bool has_min = std::isfinite(min);
  const bool has_max = std::isfinite(max);
  std::string text;
  if (has_min && has_max && !without_min && !without_max) return fmt::format("from {} to {}", min, max);
  if (has_min) text = fmt::format("{} {}", without_min ? "above" : "at least", min);
  if (has_min && has_max) text += " and ";
  if (has_max) text += fmt::format("{} {}", without_max ? "below" : "at most", max);
  return text;
}

std::string with_range(std::string_view noun, const Range& range) {
  const std::string limits = range.text();
  return limits.empty() ? std::string(noun) : fmt::format("{}, {}", noun, limits);
}

std::string Value::place() const {
  if (file_.empty()) return "--" + key_;
  const toml::source_position begin = node_->source().begin;
  if (!begin) return fmt::format("{}: {}", file_, key_);
  return fmt::format("{}:{}:{}: {}", file_, begin.line, begin.column, key_);
}

std::string Value::text(const std::string& expected) const {
  const auto* value = node_->as_string();
  if (!value) fail_expected(expected);
  return value->get();
}

std::string Value::text_or_integer(const std::string& expected) const {
  const auto* value = node_->as_integer();
  return value ? toml_text(value->get()) : text(expected);
}

std::int64_t Value::integer(const Range& range) const {
  const auto* value = node_->as_integer();
  if (!value || !range.holds(static_cast<double>(value->get()))) fail_expected(with_range("an integer", range));
  return value->get();
}

double Value::number(const Range& range) const {
  const auto value = node_->is_number() ? node_->value<double>() : std::nullopt;
  if (!value || !std::isfinite(*value) || !range.holds(*value)) fail_expected(with_range("a number", range));
  return *value;
}

bool Value::truth() const {
  const auto* value = node_->as_boolean();
  if (!value) fail_expected("true or false");
  return value->get();
}

std::size_t Value::one_of(const std::vector<std::string_view>& words, const std::string& hint) const {
  const std::string expected = fmt::format("{}{}", words.size() > 1 ? "one of " : "", fmt::join(words, ", "));
  const std::string word = text(expected);
  const auto found = std::find(words.begin(), words.end(), word);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  const std::string_view nearest = nearest_name(word, words);
  fail_expected(expected, hint.empty() && !nearest.empty() ? fmt::format("did you mean \"{}\"?", nearest) : hint);
}

void Value::fail(const std::string& what, const std::string& hint) const {
  throw Error(ExitCode::configuration, place() + ": " + what, hint);
}

void Value::fail_expected(const std::string& expected, const std::string& hint) const {
  fail(fmt::format("expected {}, found {}", expected, describe(*node_)), hint);
}

}  // namespace bertdist
