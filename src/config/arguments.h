#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bertdist {

// Arguments of commands that are no keys of a configuration.

// Takes `--name value` or `--name=value` from the arguments; nothing where it is not there. Throws Error(configuration)
// where no value follows.
std::optional<std::string> take_value(std::vector<std::string>& arguments, const std::string& name);

// Throws Error(configuration), naming the argument, for what is no whole number above 0.
std::int64_t positive_number(const std::string& text, std::string_view name);

}  // namespace bertdist
