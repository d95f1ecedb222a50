#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bertdist {

struct TrainValidationSplit {
  std::vector<std::int64_t> train;       // row ids, ascending
  std::vector<std::int64_t> validation;  // row ids, ascending
};

// Splits the rows of one file: `validation_split` of them, rounded, go to the validation set, drawn from each label in
// proportion (largest remainder) and never a label's last row. A pure function of its arguments. Throws
// Error(configuration) where the share is not between 0 and 1, Error(data) where one of the two sets would be empty.
TrainValidationSplit split_rows(std::span<const std::int64_t> labels, double validation_split, std::uint64_t seed);

// 0 ... count-1.
std::vector<std::int64_t> all_rows(std::int64_t count);

}  // namespace bertdist
