#include "data/label_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace bertdist {
namespace {

TEST(LabelMap, IntegersFromZeroAreTheIds) {
  const LabelMap labels = LabelMap::from_values({"2", "0", "1"}, "a column");
  EXPECT_EQ(labels.names(), (std::vector<std::string>{"LABEL_0", "LABEL_1", "LABEL_2"}));
  EXPECT_EQ(labels.id_of("2"), 2);
  EXPECT_EQ(labels.id_of("LABEL_1"), 1);
  EXPECT_EQ(labels.id_of("3"), std::nullopt);
  EXPECT_EQ(labels.id_of("01"), std::nullopt);
}

TEST(LabelMap, TenIntegersAreSortedAsNumbers) {
  std::vector<std::string> values;
  for (int i = 0; i < 12; ++i) values.push_back(std::to_string(i));
  EXPECT_EQ(LabelMap::from_values(values, "a column").id_of("11"), 11);
}

TEST(LabelMap, OtherLabelsAreNumberedInSortedOrder) {
  const LabelMap labels = LabelMap::from_values({"spam", "ham"}, "a column");
  EXPECT_EQ(labels.id_of("ham"), 0);
  EXPECT_EQ(labels.id_of("spam"), 1);
}

TEST(LabelMap, AGapInTheIntegersIsAnErrorThatSaysWhatToDo) {
  try {
    LabelMap::from_values({"0", "2"}, "column 'label' of 'a.csv'");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), testing::HasSubstr("'0', '2'"));
    EXPECT_THAT(error.hint(), testing::HasSubstr("label2id"));
  }
}

TEST(LabelMap, ExplicitNamesTakeIdsToo) {
  const LabelMap labels({"Safe", "Not Safe"});
  EXPECT_EQ(labels.id_of("Not Safe"), 1);
  EXPECT_EQ(labels.id_of("0"), 0);
}

TEST(LabelMap, IntegerLabelsThatAreMappedAreNotIds) {
  const LabelMap labels = LabelMap::from_label2id({{"1", 0}, {"2", 1}});
  EXPECT_EQ(labels.id_of("1"), 0);
  EXPECT_EQ(labels.id_of("2"), 1);
  EXPECT_EQ(labels.id_of("0"), std::nullopt);
}

TEST(LabelMap, WhatIsNoMapIsAnError) {
  EXPECT_THROW(LabelMap::from_label2id({{"a", 0}, {"b", 2}}), Error);
  EXPECT_THROW(LabelMap::from_label2id({{"a", 0}, {"b", 0}}), Error);
  EXPECT_THROW(LabelMap({"a", "a"}), Error);
  EXPECT_THROW(LabelMap::from_values({"0"}, "a column"), Error);
}

TEST(LabelMap, LabelsThatLookAlikeAreFound) {
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(LabelMap({"Safe", "Not Safe"}).look_alikes(), std::nullopt);
  EXPECT_EQ(LabelMap({"Safe", "Not Safe", "safe "}).look_alikes(), Pair("Safe", "safe "));
  EXPECT_EQ(LabelMap({"not\xC2\xA0safe", "Safe", "NotSafe"}).look_alikes(), Pair("not\xC2\xA0safe", "NotSafe"));
  EXPECT_EQ(LabelMap({"\xC3\xA4rger", "\xC3\x84RGER"}).look_alikes(), Pair("\xC3\xA4rger", "\xC3\x84RGER"));
  EXPECT_EQ(LabelMap({"\xFF", "\xC3"}).look_alikes(), Pair("\xFF", "\xC3")) << "both are shown as U+FFFD";
}

}  // namespace
}  // namespace bertdist
