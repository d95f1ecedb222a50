#include "optim/lr_scheduler.h"

#include <gtest/gtest.h>

#include <array>

namespace bertdist {
namespace {

// transformers 5.23: get_scheduler(type, SGD(lr=2e-4), num_warmup_steps=3, num_training_steps=10), get_last_lr() before
// each of 11 updates.
struct Case {
  SchedulerType type;
  std::array<double, 11> expected;
};

class LearningRateScheduleTest : public testing::TestWithParam<Case> {};

TEST_P(LearningRateScheduleTest, EqualsTransformers) {
  const LearningRateSchedule schedule{
      .type = GetParam().type, .learning_rate = 2e-4, .num_warmup_steps = 3, .num_training_steps = 10};
  for (std::size_t step = 0; step < GetParam().expected.size(); ++step) {
    EXPECT_NEAR(schedule.at(static_cast<std::int64_t>(step)), GetParam().expected[step], 1e-18) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Types, LearningRateScheduleTest,
    testing::Values(Case{SchedulerType::linear,
                         {0.0, 6.666666666666667e-05, 0.00013333333333333334, 0.0002, 0.00017142857142857143,
                          0.00014285714285714287, 0.00011428571428571428, 8.571428571428571e-05, 5.714285714285714e-05,
                          2.857142857142857e-05, 0.0}},
                    Case{SchedulerType::cosine,
                         {0.0, 6.666666666666667e-05, 0.00013333333333333334, 0.0002, 0.0001900968867902419,
                          0.00016234898018587337, 0.00012225209339563145, 7.774790660436858e-05, 3.7651019814126654e-05,
                          9.903113209758096e-06, 0.0}},
                    Case{SchedulerType::constant,
                         {0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002}},
                    Case{SchedulerType::constant_with_warmup,
                         {0.0, 6.666666666666667e-05, 0.00013333333333333334, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002,
                          0.0002, 0.0002, 0.0002}}));

TEST(LearningRateSchedule, WithoutWarmupStartsAtTheFullRate) {
  EXPECT_EQ((LearningRateSchedule{.learning_rate = 1e-3, .num_training_steps = 5}).at(0), 1e-3);
}

}  // namespace
}  // namespace bertdist
