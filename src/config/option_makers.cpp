#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "base/nearest_name.h"
#include "config/option.h"
#include "config/toml_text.h"

namespace bertdist {
namespace {

// A member that has a value always.
template <typename T, typename Read>
Option value_option(Option option, T Config::*member, Read read) {
  option.default_text = toml_text(Config{}.*member);
  option.read = [member, read](const Value& value, Config& config) { config.*member = read(value); };
  option.write = [member](const Config& config) { return std::optional(toml_text(config.*member)); };
  return option;
}

// A member that may be unset, which TOML can say only by leaving the key out.
template <typename T, typename Read>
Option optional_option(Option option, std::optional<T> Config::*member, Read read) {
  option.read = [member, read](const Value& value, Config& config) { config.*member = read(value); };
  option.write = [member](const Config& config) {
    return config.*member ? std::optional(toml_text(*(config.*member))) : std::nullopt;
  };
  return option;
}

// Text for which empty means unset, unless empty is itself a choice beside the default.
template <typename Read>
Option text_member(Option option, std::string Config::*member, Read read) {
  option.default_text = (Config{}.*member).empty() ? "" : toml_text(Config{}.*member);
  option.read = [member, read](const Value& value, Config& config) { config.*member = read(value); };
  option.write = [member](const Config& config) {
    const bool unset = (config.*member).empty() && (Config{}.*member).empty();
    return unset ? std::nullopt : std::optional(toml_text(config.*member));
  };
  return option;
}

std::string expand_home(std::string path) {
  const char* home = std::getenv("HOME");
  const bool in_home = path == "~" || path.starts_with("~/");
  return in_home && home ? home + path.substr(1) : path;
}

std::string read_byte(const Value& value) {
  std::string byte = value.text("one character");
  if (byte == "\\t") byte = "\t";  // as a shell's user writes it
  const bool control = byte.size() == 1 && static_cast<unsigned char>(byte[0]) < 0x20 && byte != "\t";
  if (byte.size() > 1 || control || (!byte.empty() && static_cast<unsigned char>(byte[0]) >= 0x7f)) {
    value.fail_expected("one ASCII character that prints, a tab (\"\\t\"), or \"\"");
  }
  return byte;
}

}  // namespace

Option make_option(About about, std::string placeholder, std::string type, Spelling spelling) {
  Option option;
  option.name = about.name;
  option.section = about.section;
  option.commands = about.commands;
  option.help = std::move(about.help);
  option.placeholder = std::move(placeholder);
  option.type = std::move(type);
  option.spelling = spelling;
  return option;
}

Option optional_path_option(About about, std::optional<std::string> Config::*member, std::string placeholder) {
  return optional_option(make_option(std::move(about), std::move(placeholder), "path", Spelling::text), member,
                         [](const Value& value) {
                           const std::string path = expand_home(value.text("a path"));
                           return path.empty() ? std::nullopt : std::optional(path);
                         });
}

Option path_option(About about, std::string Config::*member, std::string placeholder) {
  return text_member(make_option(std::move(about), std::move(placeholder), "path", Spelling::text), member,
                     [](const Value& value) { return expand_home(value.text("a path")); });
}

Option column_option(About about, std::string Config::*member) {
  return text_member(make_option(std::move(about), "COLUMN", "name, or position from 0", Spelling::text), member,
                     [](const Value& value) { return value.text_or_integer("a column's name or position"); });
}

Option columns_option(About about, std::vector<std::string> Config::*member) {
  return value_option(make_option(std::move(about), "LIST", "list of names or positions", Spelling::table), member,
                      [](const Value& value) {
                        const std::string expected = "a column's name or position, or a list of them";
                        const toml::array* list = value.node().as_array();
                        if (!list) return std::vector{value.text_or_integer(expected)};
                        std::vector<std::string> columns;
                        for (const auto& column : *list) {
                          columns.push_back(value.element(column).text_or_integer(expected));
                        }
                        return columns;
                      });
}

Option byte_option(About about, std::string Config::*member) {
  return text_member(make_option(std::move(about), "CHAR", "one character", Spelling::text), member, read_byte);
}

Option optional_byte_option(About about, std::optional<std::string> Config::*member) {
  return optional_option(make_option(std::move(about), "CHAR", "one character", Spelling::text), member, read_byte);
}

Option flag_option(About about, bool Config::*member) {
  return value_option(make_option(std::move(about), "BOOL", "true or false", Spelling::flag), member,
                      [](const Value& value) { return value.truth(); });
}

Option integer_option(About about, std::int64_t Config::*member, Range range) {
  return value_option(make_option(std::move(about), "N", with_range("integer", range), Spelling::number), member,
                      [range](const Value& value) { return value.integer(range); });
}

Option optional_integer_option(About about, std::optional<std::int64_t> Config::*member, Range range) {
  return optional_option(make_option(std::move(about), "N", with_range("integer", range), Spelling::number), member,
                         [range](const Value& value) { return value.integer(range); });
}

Option number_option(About about, double Config::*member, Range range) {
  return value_option(make_option(std::move(about), "X", with_range("number", range), Spelling::number), member,
                      [range](const Value& value) { return value.number(range); });
}

Option optional_number_option(About about, std::optional<double> Config::*member, Range range) {
  return optional_option(make_option(std::move(about), "X", with_range("number", range), Spelling::number), member,
                         [range](const Value& value) { return value.number(range); });
}

Option word_option(About about, std::string Config::*member, std::vector<std::string_view> words,
                   std::vector<std::string_view> later) {
  std::string type = fmt::format("{}", fmt::join(words, ", "));
  return text_member(make_option(std::move(about), "NAME", type, Spelling::text), member,
                     [words, later, type](const Value& value) {
                       const std::string word = value.text(type);
                       const std::string kind = word.substr(0, word.find(':'));  // of "cuda:0"
                       if (std::find(later.begin(), later.end(), kind) != later.end()) {
                         value.fail(fmt::format("\"{}\" is not available in this version of bertdist", word),
                                    fmt::format("use {}", fmt::join(words, " or ")));
                       }
                       return std::string(words[value.one_of(words)]);
                     });
}

Option metric_option(About about, std::string Config::*member, std::vector<std::string_view> metrics) {
  std::string type = fmt::format("{}; with or without \"eval_\"", fmt::join(metrics, ", "));
  return text_member(
      make_option(std::move(about), "METRIC", type, Spelling::text), member, [metrics, type](const Value& value) {
        std::string metric = value.text("a metric's name");
        if (metric.starts_with("eval_")) metric.erase(0, 5);
        if (std::find(metrics.begin(), metrics.end(), metric) == metrics.end()) {
          const std::string_view nearest = nearest_name(metric, metrics);
          value.fail_expected("one of " + type, nearest.empty() ? "" : fmt::format("did you mean \"{}\"?", nearest));
        }
        return metric;
      });
}

template <typename E>
Option choice_option(About about, E Config::*member, Choices<E> choices) {
  std::vector<std::string_view> names;
  for (const auto& [name, choice] : choices) names.push_back(name);
  Option option = make_option(std::move(about), "NAME", fmt::format("{}", fmt::join(names, ", ")), Spelling::text);
  const auto name_of = [choices](E wanted) {
    const auto found = std::find_if(choices.begin(), choices.end(), [&](const auto& c) { return c.second == wanted; });
    return toml_text(found->first);
  };
  option.default_text = name_of(Config{}.*member);
  option.read = [member, choices, names](const Value& value, Config& config) {
    config.*member = choices[value.one_of(names)].second;
  };
  option.write = [member, name_of](const Config& config) { return std::optional(name_of(config.*member)); };
  return option;
}

template Option choice_option(About, Config::Format Config::*, Choices<Config::Format>);
template Option choice_option(About, Config::Encoding Config::*, Choices<Config::Encoding>);
template Option choice_option(About, Config::BadRow Config::*, Choices<Config::BadRow>);
template Option choice_option(About, Config::Truncation Config::*, Choices<Config::Truncation>);
template Option choice_option(About, Config::Scheduler Config::*, Choices<Config::Scheduler>);
template Option choice_option(About, Config::Strategy Config::*, Choices<Config::Strategy>);

}  // namespace bertdist
