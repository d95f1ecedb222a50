#include "label_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "report/table.h"

namespace bertdist {

namespace {

constexpr std::size_t kMaxListed = 20;

std::string and_more(std::size_t count) {
  return count > kMaxListed ? fmt::format(" and {} more", count - kMaxListed) : "";
}

std::string with_rows(const std::vector<std::string>& names, const Dataset& train) {
  std::vector<std::int64_t> counts(names.size());
  for (std::int64_t index = 0; index < train.size(); ++index) ++counts[static_cast<std::size_t>(train.label(index))];
  std::vector<std::string> parts;
  for (std::size_t id = 0; id < std::min(names.size(), kMaxListed); ++id) {
    parts.push_back(fmt::format("{} {} {} row{}", id, names[id], with_thousands_separators(counts[id]),
                                counts[id] == 1 ? "" : "s"));
  }
  return fmt::format("{}{}", fmt::join(parts, ", "), and_more(names.size()));
}

std::string with_ids(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (std::size_t id = 0; id < std::min(names.size(), kMaxListed); ++id)
    parts.push_back(fmt::format("{} {}", id, names[id]));
  return fmt::format("{}{}", fmt::join(parts, ", "), and_more(names.size()));
}

}  // namespace

void report_labels(const Job& job, const LabelMap& labels, const Dataset& train, const BertConfig& checkpoint) {
  if (job.communicator.rank() != 0) return;
  job.log.info("labels: {}", with_rows(labels.names(), train));
  if (const auto pair = labels.look_alikes()) {
    job.log.warn("the labels '{}' and '{}' differ in whitespace or letter case only: are they one label?", pair->first,
                 pair->second);
  }
  const bool has_names = checkpoint.is_fine_tuned_classifier() && checkpoint.names_its_labels();
  if (has_names && checkpoint.id2label != labels.names()) {
    job.log.warn(
        "the classifier of '{}' was trained with the labels {}; this run begins with it, but with other labels",
        job.config.model_name_or_path, with_ids(checkpoint.id2label));
  }
}

}  // namespace bertdist
