#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>

#include "base/error.h"
#include "config/given.h"
#include "config/option.h"
#include "config/toml_text.h"

namespace bertdist {
namespace {

namespace po = boost::program_options;

bool is_key(std::string_view argument) {
  return argument.size() > 2 && argument.starts_with("--");
}

[[noreturn]] void fail_no_value(const std::string& key) {
  throw Error(ExitCode::configuration, key + ": no value follows", "every key is written --key value");
}

// Boost.Program_options has no flag that may be followed by "true" or "false", and no empty value after "="; both are
// spelled out for it here, and --learning-rate as --learning_rate.
std::vector<std::string> spell_out(const std::vector<std::string>& arguments) {
  std::vector<std::string> spelled;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string argument = arguments[i];
    if (!is_key(argument)) {
      spelled.push_back(argument);
      continue;
    }
    const std::size_t equals = std::min(argument.find('='), argument.size());
    const std::size_t name_end = argument.starts_with("--debug.") ? equals : std::min(argument.find('.'), equals);
    std::replace(argument.begin() + 2, argument.begin() + static_cast<std::ptrdiff_t>(name_end), '-', '_');
    const Option* option = option_of_key(argument.substr(2, equals - 2));
    const bool needs_value = option ? option->spelling != Spelling::flag : argument.substr(2) == "config";
    if (needs_value && equals == argument.size() && i + 1 < arguments.size() && is_key(arguments[i + 1])) {
      fail_no_value(argument);
    }
    const bool bare = option && option->spelling == Spelling::flag && equals == argument.size() &&
                      (i + 1 == arguments.size() || is_key(arguments[i + 1]));
    if (bare) argument += "=true";
    if (equals + 1 == argument.size()) {
      spelled.push_back(argument.substr(0, equals));
      spelled.emplace_back();
    } else {
      spelled.push_back(argument);
    }
  }
  return spelled;
}

po::options_description known_keys() {
  po::options_description known;
  const auto add = [&](const std::string& name) { known.add_options()(name.c_str(), po::value<std::string>(), ""); };
  add("config");
  for (const Option& option : options()) {
    add(std::string(option.name));
    if (option.spelling == Spelling::table) add(std::string(option.name) + ".*");
  }
  return known;
}

po::parsed_options tokenize(const std::vector<std::string>& arguments) {
  namespace style = po::command_line_style;
  const po::options_description known = known_keys();
  try {
    return po::command_line_parser(spell_out(arguments))
        .options(known)
        .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
        .allow_unregistered()
        .run();
  } catch (const po::error_with_option_name& error) {
    fail_no_value(error.get_option_name());
  }
}

// A list or table; under the key "value".
toml::table parse_structure(const std::string& key, const std::string& text) {
  try {
    return toml::parse("value = " + text);
  } catch (const toml::parse_error& error) {
    throw Error(ExitCode::configuration, fmt::format("--{}: {} is not TOML: {}", key, text, error.description()),
                "a list looks like '[\"a\", \"b\"]' and a table like '{first_layers = 4}', in the shell's quotes");
  }
}

// Text as it stands; under the key "value". TOML, and with it the saved configuration, holds UTF-8 only.
toml::table parse_text(const std::string& key, const std::string& text) {
  try {
    return toml::parse("value = " + toml_text(std::string_view(text)));
  } catch (const toml::parse_error&) {
    throw Error(ExitCode::configuration, fmt::format("--{}: the value is not UTF-8", key));
  }
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc{} && end == text.data() + text.size() && !text.empty();
  return whole ? std::optional(number) : std::nullopt;
}

// What a value on the command line, which is text, means for this option; under the key "value".
toml::table typed_value(const Option& option, const std::string& key, const std::string& text) {
  if (option.spelling == Spelling::number) {
    if (const auto number = parse_number<std::int64_t>(text)) return toml::table{{"value", *number}};
    if (const auto number = parse_number<double>(text)) return toml::table{{"value", *number}};
  }
  if (option.spelling == Spelling::flag && (text == "true" || text == "false")) {
    return toml::table{{"value", text == "true"}};
  }
  const bool structured = option.spelling == Spelling::table && (text.starts_with('[') || text.starts_with('{'));
  return structured ? parse_structure(key, text) : parse_text(key, text);
}

// "4" in --freeze.first_layers 4 is a number, "Safe" in --id2label.0 Safe a name.
void insert_entry(toml::table& table, const std::string& key, const std::string& entry, const std::string& text) {
  if (const auto number = parse_number<std::int64_t>(text)) {
    table.insert_or_assign(entry, *number);
  } else {
    table.insert_or_assign(entry, *parse_text(key, text)["value"].as_string());
  }
}

}  // namespace

CommandLine split_command_line(const std::vector<std::string>& arguments) {
  CommandLine command_line;
  for (const po::option& token : tokenize(arguments).options) {
    if (token.position_key >= 0) {
      throw Error(ExitCode::configuration, fmt::format("unexpected argument \"{}\"", token.value.at(0)),
                  "every key is written --key value; quote a value that has spaces");
    }
    if (token.unregistered) fail_unknown_key("command line: ", token.string_key);
    const std::string value = token.value.empty() ? "" : token.value[0];
    if (token.string_key == "config") {
      command_line.config_file = value;
    } else {
      command_line.arguments.push_back({token.string_key, value});
    }
  }
  return command_line;
}

void read_arguments(const CommandLine& command_line, Config& config, Given& given) {
  // The entries of a table may come one by one; together they are its value.
  std::map<std::string, toml::table> tables;
  for (const auto& [key, value] : command_line.arguments) {
    const Option* option = option_of_key(key);
    const std::string name(option->name);
    if (name == key) {
      const toml::table holder = typed_value(*option, key, value);
      option->read(Value(name, *holder.get("value")), config);
      tables.erase(name);
    } else {
      insert_entry(tables[name], key, key.substr(name.size() + 1), value);
    }
    given[name] = "--" + name;
  }
  for (const auto& [name, table] : tables) find_option(name)->read(Value(name, table), config);
}

}  // namespace bertdist
