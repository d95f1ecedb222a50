#include "metrics/classification_metrics.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace bertdist {
namespace {

using ConfusionMatrix = std::vector<std::vector<std::int64_t>>;

double ratio(double numerator, double denominator) {
  return denominator == 0 ? 0 : numerator / denominator;
}

template <typename Real>
void check_input(std::span<const Real> logits, std::span<const std::int64_t> labels, int num_labels) {
  if (num_labels < 2) {
    throw Error(ExitCode::data, fmt::format("classification metrics need at least 2 classes, not {}", num_labels));
  }
  if (labels.empty()) throw Error(ExitCode::data, "no rows to evaluate", "check that the file has rows");
  const std::size_t width = static_cast<std::size_t>(num_labels);
  if (logits.size() != labels.size() * width) {
    throw Error(ExitCode::data,
                fmt::format("{} logits do not fit {} rows of {} classes", logits.size(), labels.size(), num_labels));
  }
  for (std::size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0 || labels[row] >= num_labels) {
      throw Error(ExitCode::data,
                  fmt::format("row {}: label id {} is not one of 0..{}", row, labels[row], num_labels - 1),
                  "check label_column and label2id");
    }
    const auto values = logits.subspan(row * width, width);
    if (!std::ranges::all_of(values, [](Real value) { return std::isfinite(value); })) {
      throw Error(ExitCode::numeric, fmt::format("row {}: the model's output is not finite", row),
                  "the weights are damaged or training diverged; try a lower learning_rate");
    }
  }
}

template <typename Real>
std::vector<double> softmax_of(std::span<const Real> logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> values(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    values[i] = std::exp(static_cast<double>(logits[i]) - largest);
    sum += values[i];
  }
  for (double& value : values) value /= sum;
  return values;
}

// -log(softmax(logits)), at `label` and, with the weight of the smoothing, in the mean over all labels.
template <typename Real>
double cross_entropy(std::span<const Real> logits, std::int64_t label, double label_smoothing_factor) {
  const double largest = *std::ranges::max_element(logits);
  double sum_of_exponentials = 0, sum = 0;
  for (const Real logit : logits) {
    const double shifted = static_cast<double>(logit) - largest;
    sum_of_exponentials += std::exp(shifted);
    sum += shifted;
  }
  const double at_label = static_cast<double>(logits[static_cast<std::size_t>(label)]) - largest;
  const double mean = sum / static_cast<double>(logits.size());
  return std::log(sum_of_exponentials) - (1 - label_smoothing_factor) * at_label - label_smoothing_factor * mean;
}

// The chance that a row of the positive class scores above another row, from integer counts of pairs.
std::optional<double> area_under_roc(const std::vector<double>& scores, std::span<const std::int64_t> labels,
                                     std::int64_t positive) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t row) { return scores[row]; });

  std::int64_t positives = 0, negatives = 0, twice_pairs_won = 0;
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    std::int64_t tied_positives = 0, tied_negatives = 0;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end) {
      ++(labels[order[end]] == positive ? tied_positives : tied_negatives);
    }
    twice_pairs_won += tied_positives * (2 * negatives + tied_negatives);
    positives += tied_positives;
    negatives += tied_negatives;
  }
  if (positives == 0 || negatives == 0) return std::nullopt;
  return static_cast<double>(twice_pairs_won) / (2.0 * static_cast<double>(positives) * static_cast<double>(negatives));
}

// probabilities: [classes][rows]
std::optional<double> area_under_roc(const std::vector<std::vector<double>>& probabilities,
                                     std::span<const std::int64_t> labels) {
  if (probabilities.size() == 2) return area_under_roc(probabilities[1], labels, 1);
  double sum = 0;
  for (std::size_t label = 0; label < probabilities.size(); ++label) {
    const auto auc = area_under_roc(probabilities[label], labels, static_cast<std::int64_t>(label));
    if (!auc) return std::nullopt;
    sum += *auc;
  }
  return sum / static_cast<double>(probabilities.size());
}

struct Counts {
  std::vector<double> labels;       // [classes] rows of this class
  std::vector<double> predictions;  // [classes] rows predicted to be of this class
  double correct = 0;
};

Counts count(const ConfusionMatrix& matrix) {
  Counts counts{std::vector<double>(matrix.size()), std::vector<double>(matrix.size())};
  for (std::size_t label = 0; label < matrix.size(); ++label) {
    for (std::size_t prediction = 0; prediction < matrix.size(); ++prediction) {
      counts.labels[label] += static_cast<double>(matrix[label][prediction]);
      counts.predictions[prediction] += static_cast<double>(matrix[label][prediction]);
    }
    counts.correct += static_cast<double>(matrix[label][label]);
  }
  return counts;
}

void set_precision_recall_f1(const Counts& counts, ClassificationMetrics& metrics) {
  const std::size_t num_labels = counts.labels.size();
  double classes = 0;
  for (std::size_t label = num_labels == 2 ? 1 : 0; label < num_labels; ++label) {
    const double hits = static_cast<double>(metrics.confusion_matrix[label][label]);
    const double size = counts.labels[label] + counts.predictions[label];
    if (num_labels > 2 && size == 0) continue;
    metrics.precision += ratio(hits, counts.predictions[label]);
    metrics.recall += ratio(hits, counts.labels[label]);
    metrics.f1 += ratio(2 * hits, size);
    ++classes;
  }
  metrics.precision /= classes;
  metrics.recall /= classes;
  metrics.f1 /= classes;
}

double matthews_correlation(const Counts& counts, double rows) {
  double covariance = counts.correct * rows;
  double label_variance = rows * rows, prediction_variance = rows * rows;
  for (std::size_t label = 0; label < counts.labels.size(); ++label) {
    covariance -= counts.labels[label] * counts.predictions[label];
    label_variance -= counts.labels[label] * counts.labels[label];
    prediction_variance -= counts.predictions[label] * counts.predictions[label];
  }
  return ratio(covariance, std::sqrt(label_variance) * std::sqrt(prediction_variance));
}

template <typename Real>
ClassificationMetrics compute(std::span<const Real> logits, std::span<const std::int64_t> labels, int num_labels,
                              double label_smoothing_factor) {
  check_input(logits, labels, num_labels);
  const std::size_t width = static_cast<std::size_t>(num_labels);
  const double rows = static_cast<double>(labels.size());

  ClassificationMetrics metrics;
  metrics.confusion_matrix.assign(width, std::vector<std::int64_t>(width));
  std::vector<std::vector<double>> probabilities(width, std::vector<double>(labels.size()));
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const auto values = logits.subspan(row * width, width);
    const auto prediction = static_cast<std::size_t>(std::ranges::max_element(values) - values.begin());
    ++metrics.confusion_matrix[static_cast<std::size_t>(labels[row])][prediction];
    metrics.loss += cross_entropy(values, labels[row], label_smoothing_factor) / rows;
    const std::vector<double> row_probabilities = softmax_of(values);
    for (std::size_t label = 0; label < width; ++label) probabilities[label][row] = row_probabilities[label];
  }

  const Counts counts = count(metrics.confusion_matrix);
  metrics.accuracy = counts.correct / rows;
  metrics.auc = area_under_roc(probabilities, labels);
  set_precision_recall_f1(counts, metrics);
  metrics.mcc = matthews_correlation(counts, rows);
  return metrics;
}

}  // namespace

std::vector<std::pair<std::string_view, std::optional<double>>> ClassificationMetrics::named() const {
  std::vector<std::pair<std::string_view, std::optional<double>>> numbers;
  visit(*this, [&](std::string_view name, const std::optional<double>& value) { numbers.emplace_back(name, value); });
  return numbers;
}

ClassificationMetrics compute_classification_metrics(std::span<const double> logits,
                                                     std::span<const std::int64_t> labels, int num_labels,
                                                     double label_smoothing_factor) {
  return compute(logits, labels, num_labels, label_smoothing_factor);
}

ClassificationMetrics compute_classification_metrics(std::span<const float> logits,
                                                     std::span<const std::int64_t> labels, int num_labels,
                                                     double label_smoothing_factor) {
  return compute(logits, labels, num_labels, label_smoothing_factor);
}

std::vector<double> softmax(std::span<const double> logits) {
  return softmax_of(logits);
}
std::vector<double> softmax(std::span<const float> logits) {
  return softmax_of(logits);
}

}  // namespace bertdist
