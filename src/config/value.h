#pragma once

#include <toml++/toml.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace bertdist {

// The values that a number may take; each end may be left out or be excluded itself.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool without_min = false;
  bool without_max = false;

  bool holds(double value) const;
  std::string text() const;  // "at least 1"; empty for all numbers
};
constexpr Range at_least(double min) {
  return {.min = min};
}
constexpr Range above(double min) {
  return {.min = min, .without_min = true};
}
constexpr Range between(double min, double max) {
  return {.min = min, .max = max};
}
constexpr Range from_and_below(double min, double max) {
  return {.min = min, .max = max, .without_max = true};
}

// What a number of this range is called: "an integer, at least 1".
std::string with_range(std::string_view noun, const Range& range);

// What the user gave for a key, and where. Does not own the TOML node.
class Value {
 public:
  // With `file`, the node knows its line there, or has none and `file` is what gave the value ("trial 17"); without, it
  // comes from the command line.
  Value(std::string_view key, const toml::node& node, std::string file = "")
      : key_(key), node_(&node), file_(std::move(file)) {}

  const toml::node& node() const { return *node_; }
  // An element of this list or table: same key, its own line.
  Value element(const toml::node& node) const { return {key_, node, file_}; }

  std::string place() const;  // "run.toml:3:17: learning_rate", "trial 17: learning_rate" or "--learning_rate"

  // The value as a type; each throws Error(configuration) where it is another one or out of range.
  std::string text(const std::string& expected = "a string") const;
  // Text, or an integer as its digits.
  std::string text_or_integer(const std::string& expected) const;
  std::int64_t integer(const Range& range) const;
  double number(const Range& range) const;  // an integer too; finite
  bool truth() const;
  // The index in `words`.
  std::size_t one_of(const std::vector<std::string_view>& words, const std::string& hint = "") const;

  // Both throw Error(configuration): "<place>: <what>" and "<place>: expected <expected>, found <this value>".
  [[noreturn]] void fail(const std::string& what, const std::string& hint = "") const;
  [[noreturn]] void fail_expected(const std::string& expected, const std::string& hint = "") const;

 private:
  std::string key_;
  const toml::node* node_;
  std::string file_;
};

// A node on one line, as TOML.
std::string toml_text(const toml::node& node);

}  // namespace bertdist
