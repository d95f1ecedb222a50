#include "train/evaluator.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "comm/mpi_communicator.h"

namespace bertdist {
namespace {

at::Tensor logits_of(std::span<const std::int64_t> rows) {
  at::Tensor logits = at::empty({std::ssize(rows), 3});
  for (std::int64_t i = 0; i < std::ssize(rows); ++i) {
    for (int c = 0; c < 3; ++c) logits[i][c] = static_cast<float>(10 * rows[static_cast<std::size_t>(i)] + c);
  }
  return logits;
}

class GatherLogitsTest : public testing::TestWithParam<int> {
 protected:
  MpiCommunicator communicator_{MPI_COMM_WORLD, {}};
};

TEST_P(GatherLogitsTest, RankZeroHoldsEachRowOnceInOrder) {
  std::vector<std::int32_t> lengths;
  for (int row = 0; row < GetParam(); ++row) lengths.push_back(1 + row * 7 % 13);
  const std::vector<float> logits = gather_logits(lengths, {.rows = 2}, 3, logits_of, communicator_);
  if (communicator_.rank() != 0) {
    EXPECT_TRUE(logits.empty());
    return;
  }
  ASSERT_EQ(logits.size(), lengths.size() * 3);
  for (std::size_t i = 0; i < logits.size(); ++i) EXPECT_EQ(logits[i], static_cast<float>(10 * (i / 3) + i % 3));
}

// None, fewer than ranks, not divisible, and several rounds of the gather.
INSTANTIATE_TEST_SUITE_P(Rows, GatherLogitsTest, testing::Values(0, 1, 3, 17, 1001));

TEST(MetricsJson, EveryMetricSurvives) {
  ClassificationMetrics metrics;
  double next = 0.1;
  ClassificationMetrics::visit(metrics, [&](const char*, auto& value) { value = next += 0.1; });
  const ClassificationMetrics read = metrics_from_json(nlohmann::json::parse(metrics_to_json(metrics).dump()));
  EXPECT_EQ(read.named(), metrics.named());
  EXPECT_GE(read.named().size(), 7u);
}

TEST(MetricsJson, WhatIsUndefinedOrNotFiniteSurvives) {
  ClassificationMetrics metrics;
  metrics.accuracy = 0.1 + 0.2;
  metrics.loss = std::numeric_limits<double>::infinity();
  metrics.confusion_matrix = {{1, 2}, {3, 4}};
  const ClassificationMetrics read = metrics_from_json(nlohmann::json::parse(metrics_to_json(metrics).dump()));
  EXPECT_EQ(read.accuracy, 0.1 + 0.2);
  EXPECT_FALSE(read.auc);
  EXPECT_TRUE(std::isnan(read.loss));
  EXPECT_EQ(read.confusion_matrix, metrics.confusion_matrix);
}

}  // namespace
}  // namespace bertdist
