#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace bertdist {

// JSON from files that nobody vouches for: it bounds the depth, since copying and printing a deeply nested value would
// exhaust the stack, and refuses an object that has a key twice, of which a parser would silently drop one. Throws
// Error(model), with `source` in front of what is wrong.
nlohmann::json parse_json(std::string_view text, std::string_view source, int max_depth = 64);
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace bertdist
