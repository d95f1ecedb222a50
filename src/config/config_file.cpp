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

std::string read_text(const std::string& file) {
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

// The first mistake in the file is the one to report.
std::vector<std::pair<const toml::key*, const toml::node*>> in_order_of_lines(const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.first->source().begin < b.first->source().begin; });
  return entries;
}

}  // namespace

void fail_unknown_key(const std::string& place, std::string_view key) {
  if (key == "sweep" || key.starts_with("sweep.")) {
    throw Error(ExitCode::configuration, place + "unknown key \"sweep\": this version of bertdist has no sweeps",
                "remove the table and run one configuration");
  }
  const auto known =
      std::find_if(kNamesElsewhere.begin(), kNamesElsewhere.end(), [&](const auto& n) { return n.first == key; });
  const std::string_view nearest = known == kNamesElsewhere.end() ? nearest_name(key, option_names()) : known->second;
  throw Error(ExitCode::configuration, fmt::format("{}unknown key \"{}\"", place, key),
              nearest.empty() ? "bertdist --help lists the keys" : fmt::format("did you mean \"{}\"?", nearest));
}

void read_file(const std::string& file, Config& config, Given& given) {
  const toml::table table = parse_toml(read_text(file), file);
  for (const auto& [key, node] : in_order_of_lines(table)) {
    const toml::source_position begin = key->source().begin;
    const std::string place = fmt::format("{}:{}:{}: ", file, begin.line, begin.column);
    const Option* option = find_option(key->str());
    if (!option && node->is_table() && key->str() != "sweep") {
      throw Error(ExitCode::configuration, fmt::format("{}unknown table \"{}\"", place, key->str()),
                  "the keys stand in the file without a [table]; only freeze, id2label and label2id may be tables");
    }
    if (!option) fail_unknown_key(place, key->str());
    option->read(Value(key->str(), *node, file), config);
    given[std::string(key->str())] = place + std::string(key->str());
  }
}

}  // namespace bertdist
