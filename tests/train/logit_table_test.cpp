#include "train/logit_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

namespace bertdist {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Bytes records_of(std::initializer_list<std::int64_t> rows) {
  Bytes records;
  for (const std::int64_t row : rows) {
    append_logit_record(records, row, std::vector<float>{static_cast<float>(row), static_cast<float>(row) + 0.5F});
  }
  return records;
}

std::string error_of_parts(std::initializer_list<std::initializer_list<std::int64_t>> parts) {
  LogitTable table(3, 2);
  try {
    for (const auto& rows : parts) table.insert(records_of(rows));
    std::move(table).complete();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::internal);
    return error.what();
  }
  return "";
}

TEST(LogitTable, HoldsTheRowsInOrderWhateverOrderTheyComeIn) {
  LogitTable table(3, 2);
  table.insert(records_of({2}));
  table.insert({});
  table.insert(records_of({1, 0}));
  EXPECT_THAT(std::move(table).complete(), ElementsAre(0, 0.5F, 1, 1.5F, 2, 2.5F));
}

TEST(LogitTable, RefusesARowThatComesTwice) {
  EXPECT_THAT(error_of_parts({{0, 1, 1}}), HasSubstr("row 1 was evaluated twice"));
  EXPECT_THAT(error_of_parts({{0, 1}, {2}, {0}}), HasSubstr("row 0 was evaluated twice"));
}

TEST(LogitTable, RefusesRowsThatThereAreNot) {
  EXPECT_THAT(error_of_parts({{0, 1, 2, 3}}), HasSubstr("row 3 was evaluated twice or does not exist"));
  EXPECT_THAT(error_of_parts({{-1}}), HasSubstr("row -1 was evaluated twice or does not exist"));
}

TEST(LogitTable, RefusesToEndWithoutARow) {
  EXPECT_THAT(error_of_parts({{0}, {2}}), HasSubstr("2 of 3 rows were evaluated"));
  EXPECT_THAT(error_of_parts({}), HasSubstr("0 of 3 rows"));
}

}  // namespace
}  // namespace bertdist
