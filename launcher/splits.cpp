#include "splits.h"

#include <set>
#include <utility>
#include <vector>

#include "data/split.h"

namespace bertdist {

namespace {

std::vector<std::int64_t> first_rows(std::vector<std::int64_t> rows, const std::optional<std::int64_t>& limit) {
  if (limit && *limit < std::ssize(rows)) rows.resize(static_cast<std::size_t>(*limit));
  return rows;
}

Dataset whole_file(const std::shared_ptr<const TokenCache>& cache, const std::optional<std::int64_t>& limit) {
  return Dataset(cache, first_rows(all_rows(cache->num_rows()), limit));
}

}  // namespace

Splits select_rows(const Config& config, const TokenCaches& caches) {
  Splits splits;
  if (caches.train && config.validation_split > 0) {
    TrainValidationSplit split =
        split_rows(caches.train->labels(), config.validation_split, static_cast<std::uint64_t>(config.seed));
    splits.train.emplace(caches.train, first_rows(std::move(split.train), config.max_train_samples));
    splits.validation.emplace(caches.train, first_rows(std::move(split.validation), config.max_eval_samples));
  } else if (caches.train) {
    splits.train.emplace(whole_file(caches.train, config.max_train_samples));
  }
  if (caches.validation) splits.validation.emplace(whole_file(caches.validation, config.max_eval_samples));
  if (caches.test) splits.test.emplace(whole_file(caches.test, config.max_predict_samples));
  return splits;
}

void warn_of_missing_classes(const Job& job, const Splits& splits, std::int64_t num_labels) {
  if (job.communicator.rank() != 0) return;
  const auto warn = [&](const std::optional<Dataset>& split, const char* consequence) {
    if (!split) return;
    std::set<std::int64_t> classes;
    for (std::int64_t i = 0; i < split->size(); ++i) classes.insert(split->label(i));
    if (std::ssize(classes) == num_labels) return;
    job.log.warn("the AUC of '{}' is undefined: not every class has a row there{}", split->cache().source(),
                 consequence);
  };
  const bool auc_decides = splits.train && job.config.metric_for_best_model == "auc";
  warn(splits.validation, auc_decides ? "; by metric_for_best_model = \"auc\" no checkpoint will be the best" : "");
  warn(splits.test, "");
}

}  // namespace bertdist
