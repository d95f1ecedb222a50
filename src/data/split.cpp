#include "data/split.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.h"
#include "data/batch_plan.h"

namespace bertdist {

namespace {

struct Stratum {
  std::vector<std::int64_t> rows;
  std::size_t num_validation = 0;
  double remainder = 0;
};

void share_out(std::vector<Stratum*>& strata, std::int64_t total, double validation_split) {
  for (Stratum* stratum : strata) {
    const double exact = validation_split * static_cast<double>(stratum->rows.size());
    stratum->num_validation = std::min(static_cast<std::size_t>(exact), stratum->rows.size() - 1);
    stratum->remainder = exact - static_cast<double>(stratum->num_validation);
    total -= static_cast<std::int64_t>(stratum->num_validation);
  }
  std::stable_sort(strata.begin(), strata.end(), [](auto* a, auto* b) { return a->remainder > b->remainder; });
  for (Stratum* stratum : strata) {
    if (total <= 0 || stratum->num_validation + 1 >= stratum->rows.size()) continue;
    ++stratum->num_validation;
    --total;
  }
}

}  // namespace

TrainValidationSplit split_rows(std::span<const std::int64_t> labels, double validation_split, std::uint64_t seed) {
  if (!(validation_split > 0 && validation_split < 1)) {
    throw Error(ExitCode::configuration, fmt::format("validation_split = {} is not between 0 and 1", validation_split),
                "0.1 keeps a tenth of the rows for validation");
  }
  std::map<std::int64_t, Stratum> by_label;
  for (std::size_t row = 0; row < labels.size(); ++row)
    by_label[labels[row]].rows.push_back(static_cast<std::int64_t>(row));
  std::vector<Stratum*> strata;
  for (auto& [label, stratum] : by_label) strata.push_back(&stratum);
  share_out(strata, std::llround(validation_split * static_cast<double>(labels.size())), validation_split);

  TrainValidationSplit split;
  std::uint32_t stream = 0;
  for (const auto& [label, stratum] : by_label) {
    const std::vector<std::int64_t> order = shuffled_indices(stratum.rows.size(), ~seed, stream++);
    for (std::size_t i = 0; i < order.size(); ++i) {
      (i < stratum.num_validation ? split.validation : split.train)
          .push_back(stratum.rows[static_cast<std::size_t>(order[i])]);
    }
  }
  if (split.train.empty() || split.validation.empty()) {
    throw Error(ExitCode::data,
                fmt::format("validation_split = {} of {} rows leaves {} for training and {} for validation",
                            validation_split, labels.size(), split.train.size(), split.validation.size()),
                "give a validation_file, or another share");
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.validation.begin(), split.validation.end());
  return split;
}

std::vector<std::int64_t> all_rows(std::int64_t count) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return rows;
}

}  // namespace bertdist
