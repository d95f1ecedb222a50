#pragma once

#include <string_view>
#include <vector>

namespace bertdist {

// The name that the user probably meant: the first that begins with what was written, or the one with the fewest
// letters to change if those are few, or the first that contains it ("epochs" in "num_train_epochs"). Empty where
// nothing is near.
std::string_view nearest_name(std::string_view written, const std::vector<std::string_view>& names);

}  // namespace bertdist
