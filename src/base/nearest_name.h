#pragma once

#include <span>
#include <string>
#include <string_view>

namespace bertdist {

// Single-byte insertions, deletions and replacements that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The one of `names` that is most likely meant by `name`, without regard to case; empty where none is near.
std::string nearest_name(std::string_view name, std::span<const std::string> names);

}  // namespace bertdist
