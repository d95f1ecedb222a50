#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace bertdist {

// Single-byte insertions, deletions and replacements that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The one of `names` that was probably meant, without regard to case: one that begins with what was written, or the one
// with the fewest letters to change if those are few, or one that contains it ("epochs" in "num_train_epochs"). Empty
// where none is near.
std::string_view nearest_name(std::string_view written, const std::vector<std::string_view>& names);

}  // namespace bertdist
