#include "base/nearest_name.h"

#include <gtest/gtest.h>

namespace bertdist {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsAndReplacements) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("flaw", "lawn"), 2u);
  EXPECT_EQ(edit_distance("same", "same"), 0u);
}

const std::vector<std::string_view> kNames = {"learning_rate", "num_train_epochs", "train_file", "seed", "label2id"};

TEST(NearestName, MendsAFewLettersWhateverTheirCase) {
  EXPECT_EQ(nearest_name("lerning_rate", kNames), "learning_rate");
  EXPECT_EQ(nearest_name("LearningRate", kNames), "learning_rate");
  EXPECT_EQ(nearest_name("sede", kNames), "seed");
}

TEST(NearestName, KnowsBeginningsAndParts) {
  EXPECT_EQ(nearest_name("learn", kNames), "learning_rate");
  EXPECT_EQ(nearest_name("epochs", kNames), "num_train_epochs");
}

TEST(NearestName, IsEmptyWhereNothingIsNear) {
  EXPECT_EQ(nearest_name("zzzzzzzz", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
}

}  // namespace
}  // namespace bertdist
