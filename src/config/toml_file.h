#pragma once

#include <toml++/toml.h>

#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/given.h"

namespace bertdist {

// Each throws Error(configuration) that names the file and the line.

std::string read_text_file(const std::string& file);
toml::table parse_toml(const std::string& text, const std::string& file);
// A table's entries by their lines: the first mistake in a file is the one to report.
std::vector<std::pair<const toml::key*, const toml::node*>> in_order_of_lines(const toml::table& table);

// Reads a file's keys, all but a [sweep] table, into `config` and notes them.
void read_keys(const toml::table& table, const std::string& file, Config& config, Given& given);

}  // namespace bertdist
