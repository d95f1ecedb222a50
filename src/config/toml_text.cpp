#include "config/toml_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

namespace bertdist {

std::string toml_text(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    switch (c) {
      case '"':
        text += "\\\"";
        break;
      case '\\':
        text += "\\\\";
        break;
      case '\n':
        text += "\\n";
        break;
      case '\r':
        text += "\\r";
        break;
      case '\t':
        text += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          text += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        } else {
          text += c;
        }
    }
  }
  return text + '"';
}

std::string toml_text(double value) {
  std::string text = fmt::format("{}", value);
  if (!std::isfinite(value)) return text;
  const auto exponent = text.find('e');
  if (exponent == text.npos) return text.find('.') == text.npos ? text + ".0" : text;
  // 5e-5 is easier to read than 5e-05, and +, too, says nothing.
  std::string power = text.substr(exponent + 1);
  const bool negative = power[0] == '-';
  power.erase(0, power.find_first_of("123456789"));
  return text.substr(0, exponent + 1) + (negative ? "-" : "") + power;
}

std::string toml_text(std::int64_t value) {
  return fmt::format("{}", value);
}

std::string toml_text(bool value) {
  return value ? "true" : "false";
}

std::string toml_text(const std::vector<std::string>& values) {
  std::vector<std::string> texts;
  for (const std::string& value : values) texts.push_back(toml_text(std::string_view(value)));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

}  // namespace bertdist
