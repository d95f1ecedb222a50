#include "data/batch_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/error.h"
#include "data/split.h"

namespace bertdist {
namespace {

std::vector<std::int32_t> random_lengths(std::size_t size) {
  std::mt19937 generator(static_cast<unsigned>(size));
  std::vector<std::int32_t> lengths(size);
  for (std::int32_t& length : lengths) length = static_cast<std::int32_t>(2 + generator() % 300);
  return lengths;
}

struct Case {
  std::size_t rows;
  std::int64_t batch;
};

class BatchPlanTest : public testing::TestWithParam<Case> {
 protected:
  const std::vector<std::int32_t> lengths_ = random_lengths(GetParam().rows);
  const std::vector<std::int64_t> rows_ = all_rows(static_cast<std::int64_t>(GetParam().rows));

  TrainPlan train_plan(int world_size, std::int64_t epoch = 0, std::uint64_t seed = 1) const {
    return {{.seed = seed, .epoch = epoch, .global_batch_size = GetParam().batch, .world_size = world_size},
            rows_,
            lengths_};
  }
};

TEST_P(BatchPlanTest, EveryRowOnceAnEpochInTheSameStepsAtAnyNumberOfRanks) {
  const TrainPlan one = train_plan(1);
  for (const int world_size : {1, 2, 3, 4, 16}) {
    const TrainPlan plan = train_plan(world_size);
    ASSERT_EQ(plan.num_steps(), one.num_steps());
    std::vector<std::int64_t> seen;
    for (std::int64_t step = 0; step < plan.num_steps(); ++step) {
      std::vector<std::int64_t> of_step;
      for (int rank = 0; rank < world_size; ++rank) {
        const std::vector<std::int64_t> share = plan.rows(step, rank);
        of_step.insert(of_step.end(), share.begin(), share.end());
      }
      seen.insert(seen.end(), of_step.begin(), of_step.end());
      std::vector<std::int64_t> expected = one.rows(step, 0);
      EXPECT_TRUE(std::is_permutation(of_step.begin(), of_step.end(), expected.begin(), expected.end()));
      EXPECT_TRUE(std::ranges::equal(expected, plan.global_rows(step)));
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, rows_);
  }
}

TEST_P(BatchPlanTest, SharesAreBalancedByTokens) {
  for (const int world_size : {2, 3, 4}) {
    const TrainPlan plan = train_plan(world_size);
    for (std::int64_t step = 0; step < plan.num_steps(); ++step) {
      std::int64_t smallest = INT64_MAX;
      std::int64_t largest = 0;
      std::int32_t longest = 0;
      for (const std::int64_t row : plan.global_rows(step))
        longest = std::max(longest, lengths_[static_cast<std::size_t>(row)]);
      for (int rank = 0; rank < world_size; ++rank) {
        std::int64_t tokens = 0;
        for (const std::int64_t row : plan.rows(step, rank)) tokens += lengths_[static_cast<std::size_t>(row)];
        smallest = std::min(smallest, tokens);
        largest = std::max(largest, tokens);
      }
      EXPECT_LE(largest - smallest, longest);
    }
  }
}

TEST_P(BatchPlanTest, EvaluationBatchesAreTheSameAtAnyNumberOfRanks) {
  const auto batches_of = [&](int world_size) {
    std::vector<std::vector<std::int64_t>> batches;
    for (int rank = 0; rank < world_size; ++rank) {
      for (auto& batch : EvaluationPlan(rows_, lengths_, {.rows = GetParam().batch}, world_size).batches(rank))
        batches.push_back(batch);
    }
    std::sort(batches.begin(), batches.end());
    return batches;
  };
  const std::vector<std::vector<std::int64_t>> one = batches_of(1);
  std::vector<std::int64_t> seen;
  for (const auto& batch : one) seen.insert(seen.end(), batch.begin(), batch.end());
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, rows_);
  for (const int world_size : {2, 3, 4, 16}) EXPECT_EQ(batches_of(world_size), one);
}

INSTANTIATE_TEST_SUITE_P(Sizes, BatchPlanTest,
                         testing::Values(Case{0, 8}, Case{1, 8}, Case{2, 1}, Case{7, 3}, Case{64, 8}, Case{1001, 32}));

TEST(BatchPlan, BatchesKeepTheirTokenLimit) {
  const std::vector<std::int32_t> lengths = {3, 9, 4, 2, 3, 5};
  const EvaluationPlan plan(all_rows(6), lengths, {.tokens = 8}, 1);
  EXPECT_EQ(plan.num_batches(), 4);
  EXPECT_EQ(plan.batches(0), (std::vector<std::vector<std::int64_t>>{{1}, {5}, {2, 0}, {4, 3}}));
}

TEST(BatchPlan, TheOrderIsKeyedBySeedAndEpoch) {
  const std::vector<std::int64_t> order = shuffled_indices(1000, 1, 0);
  EXPECT_EQ(order, shuffled_indices(1000, 1, 0));
  EXPECT_NE(order, shuffled_indices(1000, 1, 1));
  EXPECT_NE(order, shuffled_indices(1000, 2, 0));
  EXPECT_NE(order, all_rows(1000));
}

TEST(BatchPlan, EveryOrderIsEquallyLikely) {
  std::vector<int> counts(6);
  for (std::uint64_t seed = 0; seed < 6000; ++seed) {
    const std::vector<std::int64_t> order = shuffled_indices(3, seed, 0);
    ++counts[static_cast<std::size_t>(order[0] * 2 + (order[1] > order[2] ? 1 : 0))];
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);  // five standard deviations
}

TEST(BatchPlan, TakesAnySubsetOfRows) {
  const std::vector<std::int32_t> lengths = random_lengths(100);
  const std::vector<std::int64_t> rows{3, 50, 99};
  const TrainPlan plan({.seed = 1, .epoch = 0, .global_batch_size = 3, .world_size = 1}, rows, lengths);
  EXPECT_TRUE(std::ranges::is_permutation(plan.rows(0, 0), rows));
}

TEST(Split, IsStratifiedSeededAndComplete) {
  std::vector<std::int64_t> labels(1000);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = i % 10 == 0 ? 1 : 0;
  const TrainValidationSplit split = split_rows(labels, 0.15, 7);
  EXPECT_EQ(split.validation.size(), 150U);
  EXPECT_EQ(std::ranges::count_if(split.validation, [](std::int64_t row) { return row % 10 == 0; }), 15);
  std::vector<std::int64_t> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, all_rows(1000));
  EXPECT_EQ(split_rows(labels, 0.15, 7).validation, split.validation);
  EXPECT_NE(split_rows(labels, 0.15, 8).validation, split.validation);
}

TEST(Split, ARareLabelStaysInTraining) {
  const TrainValidationSplit split = split_rows(std::vector<std::int64_t>{0, 0, 0, 0, 1}, 0.4, 1);
  EXPECT_EQ(split.validation.size(), 2U);
  EXPECT_EQ(split.train.back(), 4);
}

TEST(Split, WhatCannotBeSplitIsAnError) {
  EXPECT_THROW(split_rows(std::vector<std::int64_t>{0, 1}, 1.5, 1), Error);
  EXPECT_THROW(split_rows(std::vector<std::int64_t>{0, 1}, 0.1, 1), Error);
}

}  // namespace
}  // namespace bertdist
