#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/value.h"

namespace bertdist {

// The commands that an option means something to, as a set of bits.
using Commands = unsigned;
constexpr Commands only(Command command) {
  return 1u << static_cast<unsigned>(command);
}
constexpr Commands kAllCommands = 0x1f;

// How a value is written on the command line, where everything is text.
enum class Spelling { text, number, flag, table };

// One key: all that the program knows of it. Parsing, defaults, --help, the saved configuration and
// docs/configuration.md come from the table of these.
struct Option {
  std::string_view name;
  std::string_view section;
  Commands commands = 0;
  std::string placeholder;   // in --help: FILE, N, ...
  std::string type;          // "integer, at least 1"
  std::string default_text;  // "5e-5"; empty: none
  std::string help;
  Spelling spelling = Spelling::text;
  // Checks the value and puts it into the Config; throws Error(configuration).
  std::function<void(const Value&, Config&)> read;
  // The value as TOML; nothing where there is none to write.
  std::function<std::optional<std::string>(const Config&)> write;

  // For the entries of the options table whose default is a rule rather than a value.
  Option defaults_to(std::string text) && {
    default_text = std::move(text);
    return std::move(*this);
  }
};

const std::vector<Option>& options();
std::vector<std::string_view> option_names();
// Null where there is none.
const Option* find_option(std::string_view name);
// The option that a key on the command line belongs to: its own, or, of "freeze.first_layers", the table's.
const Option* option_of_key(std::string_view key);

// What the makers below have in common: where an option belongs and what --help says.
struct About {
  std::string_view name;
  std::string_view section;
  Commands commands;
  std::string help;
};

template <typename E>
using Choices = std::vector<std::pair<std::string_view, E>>;

// One of the names; throws Error(configuration) with all of them and the nearest.
template <typename E>
Option choice_option(About about, E Config::*member, Choices<E> choices);

// An option that has no read and write yet.
Option make_option(About about, std::string placeholder, std::string type, Spelling spelling);

// As text, with a leading "~/" replaced by the home folder.
Option path_option(About about, std::string Config::*member, std::string placeholder);
Option optional_path_option(About about, std::optional<std::string> Config::*member, std::string placeholder);
Option column_option(About about, std::string Config::*member);  // a number is a position
Option columns_option(About about, std::vector<std::string> Config::*member);
// One byte, or none.
Option byte_option(About about, std::string Config::*member);
Option optional_byte_option(About about, std::optional<std::string> Config::*member);
Option flag_option(About about, bool Config::*member);
Option integer_option(About about, std::int64_t Config::*member, Range range);
Option optional_integer_option(About about, std::optional<std::int64_t> Config::*member, Range range);
Option number_option(About about, double Config::*member, Range range);
Option optional_number_option(About about, std::optional<double> Config::*member, Range range);
// `later` are names that users of Hugging Face know and this version does not have.
Option word_option(About about, std::string Config::*member, std::vector<std::string_view> words,
                   std::vector<std::string_view> later = {});
Option metric_option(About about, std::string Config::*member, std::vector<std::string_view> metrics);
Option freeze_option(About about, Config::Freeze Config::*member);
Option id2label_option(About about);
// A key of the table [debug], which being given switches debug mode on, and which is saved only where that is on.
Option debug_option(Option option);
Option label2id_option(About about);

}  // namespace bertdist
