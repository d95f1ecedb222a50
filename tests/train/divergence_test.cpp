#include "train/divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <vector>

#include "base/error.h"

namespace bertdist {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;

class DivergenceHintTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string hint_after(std::int64_t num_steps, const std::vector<std::int64_t>& checkpoints) const {
    const CheckpointStore store(folder_, {}, {});
    for (const std::int64_t step : checkpoints) {
      fs::create_directory(store.path_of(step));
      std::ofstream(store.path_of(step) / "trainer_state.json") << "{}";
    }
    return divergence_hint(&store, num_steps);
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / "divergence_hint";
};

TEST_F(DivergenceHintTest, NamesNoCheckpointWhereThereIsNone) {
  EXPECT_THAT(hint_after(7, {}), EndsWith("or set max_grad_norm"));
  EXPECT_THAT(divergence_hint(nullptr, 7), EndsWith("or set max_grad_norm"));
}

TEST_F(DivergenceHintTest, NamesTheNewestOlderOne) {
  EXPECT_THAT(hint_after(12, {3, 9, 10}),
              EndsWith("max_grad_norm; '" + (folder_ / "checkpoint-10").string() + "' is still good"));
}

TEST_F(DivergenceHintTest, TellsApartTheWeightsThatFailed) {
  const std::string failed =
      "max_grad_norm; '" + (folder_ / "checkpoint-10").string() + "' holds the very weights that failed";
  EXPECT_THAT(hint_after(10, {10}), EndsWith(failed));
  EXPECT_THAT(hint_after(10, {9}), EndsWith(failed + "; '" + (folder_ / "checkpoint-9").string() + "' is still good"));
}

TEST(RequireFinite, NamesTheRowAndItsLine) {
  std::vector<float> logits{1, -2};
  require_finite(logits, 3, "a.csv", 5);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    logits[1] = bad;
    try {
      require_finite(logits, 3, "a.csv", 5);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::numeric);
      EXPECT_THAT(error.what(), HasSubstr("row 3 (a.csv:5)"));
    }
  }
}

}  // namespace
}  // namespace bertdist
