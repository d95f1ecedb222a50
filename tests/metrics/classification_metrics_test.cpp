#include "metrics/classification_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"

namespace bertdist {
namespace {

using Labels = std::vector<std::int64_t>;
using testing::ElementsAre;
using testing::HasSubstr;

// The class and message of the Error that computing the metrics throws.
std::pair<ExitCode, std::string> failure(const std::vector<float>& logits, const Labels& labels, int num_labels) {
  try {
    compute_classification_metrics(logits, labels, num_labels);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ExitCode::success, ""};
}

TEST(ClassificationMetrics, TwoClassesByHand) {
  // Scores of id 1 rise from row to row, rows 1 and 2 tie.
  const std::vector<float> logits = {2, 0, 1, 0, 1, 0, 0, 1, 0, 2};
  const auto metrics = compute_classification_metrics(logits, Labels{0, 0, 1, 0, 1}, 2);
  EXPECT_DOUBLE_EQ(metrics.accuracy, 3.0 / 5);
  EXPECT_DOUBLE_EQ(metrics.auc.value(), (1.5 + 3) / 6);
  EXPECT_DOUBLE_EQ(metrics.precision, 1.0 / 2);
  EXPECT_DOUBLE_EQ(metrics.recall, 1.0 / 2);
  EXPECT_DOUBLE_EQ(metrics.f1, 1.0 / 2);
  EXPECT_DOUBLE_EQ(metrics.mcc, (2 * 1 - 1 * 1) / 6.0);
  EXPECT_THAT(metrics.confusion_matrix, ElementsAre(ElementsAre(2, 1), ElementsAre(1, 1)));
}

TEST(ClassificationMetrics, OneClassHasNoAucAndZeroWhereTheDenominatorIsZero) {
  const auto metrics = compute_classification_metrics(std::vector<float>{1, 0, 2, 0}, Labels{0, 0}, 2);
  EXPECT_EQ(metrics.auc, std::nullopt);
  EXPECT_EQ(metrics.accuracy, 1);
  EXPECT_EQ(metrics.precision, 0);
  EXPECT_EQ(metrics.recall, 0);
  EXPECT_EQ(metrics.f1, 0);
  EXPECT_EQ(metrics.mcc, 0);
}

TEST(ClassificationMetrics, AMissingClassOfSeveralLeavesAucUndefined) {
  const std::vector<float> logits = {1, 0, 0, 0, 1, 0};
  EXPECT_EQ(compute_classification_metrics(logits, Labels{0, 1}, 3).auc, std::nullopt);
}

TEST(ClassificationMetrics, LargeLogitsNeitherOverflowNorLoseTheLoss) {
  const std::vector<double> logits = {1e300, -1e300, 1000, 0};
  EXPECT_EQ(compute_classification_metrics(logits, Labels{0, 1}, 2).loss, 500);
}

TEST(ClassificationMetrics, NamesAreInTheOrderOfReports) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : ClassificationMetrics{}.named()) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("accuracy", "auc", "f1", "precision", "recall", "mcc", "loss"));
}

TEST(ClassificationMetrics, RefusesWhatHasNoMetrics) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(failure({}, {}, 2).first, ExitCode::data);
  EXPECT_EQ(failure({1, 2, 3}, {0, 1}, 2).first, ExitCode::data);
  EXPECT_EQ(failure({1}, {0}, 1).first, ExitCode::data);
  EXPECT_THAT(failure({1, 2, 3, 4}, {0, 2}, 2), testing::Pair(ExitCode::data, HasSubstr("row 1: label id 2")));
  EXPECT_EQ(failure({1, 2}, {-1}, 2).first, ExitCode::data);
  EXPECT_THAT(failure({1, 2, nan, 4}, {0, 1}, 2), testing::Pair(ExitCode::numeric, HasSubstr("row 1")));
  EXPECT_EQ(failure({infinity, 2}, {0}, 2).first, ExitCode::numeric);
}

TEST(Softmax, SumsToOneAndSurvivesLargeLogits) {
  EXPECT_THAT(softmax(std::vector<double>{1e308, 1e308}), ElementsAre(0.5, 0.5));
  EXPECT_THAT(softmax(std::vector<float>{1000, 0}), ElementsAre(1, 0));
}

}  // namespace
}  // namespace bertdist
