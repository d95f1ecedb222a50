#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/nearest_name.h"
#include "config/given.h"
#include "config/option.h"
#include "config/toml_file.h"

namespace bertdist {
namespace {

// What other versions and programs call a key, where the letters alone would not lead to it.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kNamesElsewhere{{
    {"evaluation_strategy", "eval_strategy"},
    {"lr", "learning_rate"},
    {"batch_size", "global_batch_size"},
    {"max_length", "max_seq_length"},
    {"fp16", "dtype"},
    {"bf16", "dtype"},
    {"use_cpu", "device"},
    {"no_cuda", "device"},
    {"threads", "num_threads"},
}};

}  // namespace

std::string read_text_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream && !std::filesystem::is_directory(file)) text << stream.rdbuf();
  if (!stream || std::filesystem::is_directory(file)) {
    throw Error(ExitCode::configuration, fmt::format("cannot read the configuration file {}", file),
                fmt::format("looked in the folder {}", std::filesystem::current_path().string()));
  }
  return std::move(text).str();
}

toml::table parse_toml(const std::string& text, const std::string& file) {
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    const toml::source_position begin = error.source().begin;
    throw Error(ExitCode::configuration,
                fmt::format("{}:{}:{}: not TOML: {}", file, begin.line, begin.column, error.description()),
                "a key looks like this: learning_rate = 2e-4; text stands in quotes");
  }
}

std::vector<std::pair<const toml::key*, const toml::node*>> in_order_of_lines(const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.first->source().begin < b.first->source().begin; });
  return entries;
}

void fail_unknown_key(const std::string& place, std::string_view key) {
  if (key == "sweep" || key.starts_with("sweep.")) {
    throw Error(ExitCode::configuration, place + "a sweep is not described on the command line",
                "write the [sweep] table into the --config file");
  }
  const auto known =
      std::find_if(kNamesElsewhere.begin(), kNamesElsewhere.end(), [&](const auto& n) { return n.first == key; });
  const std::string_view nearest = known == kNamesElsewhere.end() ? nearest_name(key, option_names()) : known->second;
  throw Error(ExitCode::configuration, fmt::format("{}unknown key \"{}\"", place, key),
              nearest.empty() ? "bertdist --help lists the keys" : fmt::format("did you mean \"{}\"?", nearest));
}

namespace {

// The keys of the table [debug] begin with "debug.", those outside of tables with nothing.
void read_keys(const toml::table& table, std::string_view prefix, const std::string& file, Config& config,
               Given& given) {
  for (const auto& [key, node] : in_order_of_lines(table)) {
    const std::string name = fmt::format("{}{}", prefix, key->str());
    if (name == "sweep") {
      if (!node->is_table()) Value(name, *node, file).fail_expected("a table [sweep]");
      continue;
    }
    const toml::source_position begin = key->source().begin;
    const std::string place = fmt::format("{}:{}:{}: ", file, begin.line, begin.column);
    if (name == "debug" && node->is_table()) {
      config.debug = true;
      given[name] = place + name;
      read_keys(*node->as_table(), "debug.", file, config, given);
      continue;
    }
    const Option* option = find_option(name);
    if (!option && node->is_table()) {
      throw Error(ExitCode::configuration, fmt::format("{}unknown table \"{}\"", place, name),
                  "the keys stand in the file without a [table]; only freeze, id2label, label2id, debug and sweep may "
                  "be tables");
    }
    if (!option) fail_unknown_key(place, name);
    option->read(Value(name, *node, file), config);
    given[name] = place + name;
  }
}

}  // namespace

void read_keys(const toml::table& table, const std::string& file, Config& config, Given& given) {
  read_keys(table, "", file, config, given);
}

}  // namespace bertdist
