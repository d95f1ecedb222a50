#include "config/arguments.h"

#include <fmt/format.h>

#include <charconv>
#include <iterator>

#include "base/error.h"

namespace bertdist {

std::optional<std::string> take_value(std::vector<std::string>& arguments, const std::string& name) {
  const std::string key = "--" + name;
  for (auto it = arguments.begin(); it != arguments.end(); ++it) {
    if (it->starts_with(key + "=")) {
      std::string value = it->substr(key.size() + 1);
      arguments.erase(it);
      return value;
    }
    if (*it != key) continue;
    if (std::next(it) == arguments.end() || std::next(it)->starts_with("--")) {
      throw Error(ExitCode::configuration, key + ": no value follows", fmt::format("write {} VALUE", key));
    }
    std::string value = *std::next(it);
    arguments.erase(it, it + 2);
    return value;
  }
  return std::nullopt;
}

std::int64_t positive_number(const std::string& text, std::string_view name) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number > 0) return number;
  throw Error(ExitCode::configuration, fmt::format("--{}: expected a whole number above 0, not {}", name, text));
}

}  // namespace bertdist
