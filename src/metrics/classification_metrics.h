#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace bertdist {

// What scikit-learn computes from the same logits, with argmax (the lower id wins a tie) as the prediction and softmax
// as the score. A ratio with a zero denominator is 0.
struct ClassificationMetrics {
  double accuracy = 0;
  // Two classes: ranks the rows by the probability of id 1, tied scores count half. More: mean of the classes' AUCs,
  // each against the rest. Undefined where a class has no row.
  std::optional<double> auc;
  // Two classes: of id 1. More: unweighted mean over the classes that occur among the labels or the predictions.
  double f1 = 0;
  double precision = 0;
  double recall = 0;
  double mcc = 0;                                           // Matthews correlation coefficient
  double loss = 0;                                          // mean cross-entropy
  std::vector<std::vector<std::int64_t>> confusion_matrix;  // [true class][predicted class]

  // Calls visitor(name, member) for each single number of `metrics`, in the order in which they are reported. Whatever
  // prints, sends, saves or reads metrics goes through this list.
  template <typename Metrics, typename Visitor>
  static void visit(Metrics& metrics, const Visitor& visitor) {
    visitor("accuracy", metrics.accuracy);
    visitor("auc", metrics.auc);
    visitor("f1", metrics.f1);
    visitor("precision", metrics.precision);
    visitor("recall", metrics.recall);
    visitor("mcc", metrics.mcc);
    visitor("loss", metrics.loss);
  }
  std::vector<std::pair<std::string_view, std::optional<double>>> named() const;
};

// logits: [rows, num_labels], row-major; labels: [rows], ids in 0..num_labels-1. Computed in double. The loss spreads
// `label_smoothing_factor` of each label over all labels, as Hugging Face's Trainer does in training and evaluation.
// Throws Error(data) for no rows, a label out of range or sizes that do not fit, and Error(numeric) naming the row of a
// logit that is not finite.
ClassificationMetrics compute_classification_metrics(std::span<const double> logits,
                                                     std::span<const std::int64_t> labels, int num_labels,
                                                     double label_smoothing_factor = 0);
ClassificationMetrics compute_classification_metrics(std::span<const float> logits,
                                                     std::span<const std::int64_t> labels, int num_labels,
                                                     double label_smoothing_factor = 0);

// Probabilities of one row's logits, exact to rounding however large they are.
std::vector<double> softmax(std::span<const double> logits);
std::vector<double> softmax(std::span<const float> logits);

}  // namespace bertdist
