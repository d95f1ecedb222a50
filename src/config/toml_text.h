#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bertdist {

// Values as TOML writes them.
std::string toml_text(std::string_view value);  // quoted
std::string toml_text(double value);            // the fewest digits that read back to the same bits
std::string toml_text(std::int64_t value);
std::string toml_text(bool value);
std::string toml_text(const std::vector<std::string>& values);

}  // namespace bertdist
