#include "report/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "base/error.h"

namespace bertdist {
namespace {

namespace fs = std::filesystem;

class RunLogTest : public testing::Test {
 protected:
  RunLogTest() { fs::remove_all(folder_); }
  ~RunLogTest() override { fs::remove_all(folder_); }

  std::vector<std::string> lines() const {
    std::ifstream file(folder_ / "run_log.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(RunLogTest, EachEventIsALineWithItsTimeFirst) {
  RunLog log(folder_ / "");
  log.append({{"event", "train"}, {"loss", 0.1}});
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_THAT(lines()[0], testing::ContainsRegex(
                              "^\\{\"time\":\"20..-..-..T..:..:..\\....Z\",\"event\":\"train\",\"loss\":0.1\\}$"));
}

TEST_F(RunLogTest, AResumedRunGoesOnInTheSameFile) {
  RunLog(folder_).append({{"step", 1}});
  RunLog(folder_).append({{"step", 2}});
  EXPECT_EQ(lines().size(), 2u);
}

TEST_F(RunLogTest, ALineThatAKilledRunLeftHalfWrittenIsClosedOff) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "run_log.jsonl") << R"({"step")";
  RunLog(folder_).append({{"step", 2}});
  ASSERT_EQ(lines().size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines()[1]).at("step"), 2);
}

TEST_F(RunLogTest, WhatJsonCannotHoldIsReplaced) {
  RunLog(folder_).append({{"loss", std::numeric_limits<double>::quiet_NaN()}, {"text", "\xff"}});
  const auto event = nlohmann::json::parse(lines().at(0));
  EXPECT_TRUE(event.at("loss").is_null());
  EXPECT_EQ(event.at("text"), "\uFFFD");
}

TEST_F(RunLogTest, AFileWhereTheFolderShouldBeIsAnOutputError) {
  std::ofstream(folder_.string()) << "not a folder";
  try {
    RunLog log(folder_);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::output);
  }
}

}  // namespace
}  // namespace bertdist
