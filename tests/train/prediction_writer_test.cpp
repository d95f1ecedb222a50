#include "train/prediction_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace bertdist {
namespace {

class PredictionWriterTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static std::string content(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return (std::stringstream() << file.rdbuf()).str();
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("prediction_writer_") + testing::UnitTest::GetInstance()->current_test_info()->name());
  const std::vector<float> logits_{1.0F / 3.0F, -2.5F};
  const std::string text_ = "a \"quoted\", text\nof two lines";
  const std::vector<Cell> echoed_{{Cell::Kind::text, text_}};
};

TEST_F(PredictionWriterTest, WritesOneJsonObjectALine) {
  PredictionWriter writer((folder_ / "out.jsonl").string(), {"Safe", "Not \"Safe\""}, {"text"});
  writer.write(0, logits_, echoed_);
  writer.write(1, logits_, echoed_);
  writer.finish();
  std::istringstream lines(content(folder_ / "out.jsonl"));
  std::string line;
  for (int row = 0; row < 2; ++row) {
    ASSERT_TRUE(std::getline(lines, line));
    const nlohmann::json json = nlohmann::json::parse(line);
    EXPECT_EQ(json.at("row"), row);
    EXPECT_EQ(json.at("label"), "Safe");
    EXPECT_EQ(json.at("text"), text_);
    EXPECT_EQ(json.at("logits").at(0).get<float>(), logits_[0]) << "nine digits give the float back";
    EXPECT_NEAR(json.at("probabilities").at("Safe").get<double>(), 1 / (1 + std::exp(-2.5 - 1.0 / 3)), 1e-8);
    EXPECT_EQ(json.at("probabilities").size(), 2U);
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(PredictionWriterTest, EchoedValuesKeepTheirJsonType) {
  const nlohmann::json expected = {{"a", 1},  {"b", 0.5}, {"c", nullptr}, {"d", false}, {"e", {{"x", {1, "y"}}}},
                                   {"f", "1"}};
  std::vector<std::string> columns;
  std::vector<Cell> cells;
  for (const auto& [key, value] : expected.items()) {
    columns.push_back(key);
    if (value.is_null()) {
      cells.push_back({});
    } else if (value.is_string()) {
      cells.push_back({Cell::Kind::text, value.get<std::string>()});
    } else {
      cells.push_back({value.is_number_integer() ? Cell::Kind::integer : Cell::Kind::other, value.dump()});
    }
  }
  PredictionWriter writer((folder_ / "out.jsonl").string(), {"A", "B"}, columns);
  writer.write(0, logits_, cells);
  writer.finish();
  const nlohmann::json written = nlohmann::json::parse(content(folder_ / "out.jsonl"));
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(written.at(key), value);
}

TEST_F(PredictionWriterTest, AnEchoedColumnMayNotHaveTheNameOfAnother) {
  EXPECT_THROW(PredictionWriter((folder_ / "out.csv").string(), {"A", "B"}, {"logit_A"}), Error);
  EXPECT_NO_THROW(PredictionWriter((folder_ / "out.jsonl").string(), {"A", "B"}, {"logit_A"}));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(PredictionWriterTest, QuotesCsvFields) {
  PredictionWriter writer((folder_ / "out.csv").string(), {"A", "B"}, {"text"});
  writer.write(3, std::vector<float>{0, 0.5F}, echoed_);
  writer.finish();
  EXPECT_EQ(content(folder_ / "out.csv"),
            "row,label,probability_A,probability_B,logit_A,logit_B,text\r\n"
            "3,B,0.377540669,0.622459331,0,0.5,\"a \"\"quoted\"\", text\nof two lines\"\r\n");
}

TEST_F(PredictionWriterTest, LeavesNothingBehindUnlessFinished) {
  { PredictionWriter(folder_ / "out.csv", {"A", "B"}, {}).write(0, logits_, {}); }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(PredictionWriterTest, RefusesAnUnknownExtension) {
  EXPECT_THROW(PredictionWriter((folder_ / "out.parquet").string(), {"A", "B"}, {}), Error);
}

}  // namespace
}  // namespace bertdist
