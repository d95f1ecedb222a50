#include "report/table.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace bertdist {
namespace {

TEST(TablePrinter, AlignsColumnsUnderTheirTitles) {
  TablePrinter table({{"parameter"}, {"count", Align::right}});
  table.add_row({"pooler", "147,840"});
  table.add_row({"bert.embeddings", "2"});
  EXPECT_EQ(table.to_string(),
            "parameter          count\n"
            "------------------------\n"
            "pooler           147,840\n"
            "bert.embeddings        2\n");
}

TEST(TablePrinter, CountsCharactersAndNotBytes) {
  TablePrinter table({{"label"}, {"n", Align::right}});
  table.add_row({"größer", "1"});
  EXPECT_EQ(table.to_string(),
            "label   n\n"
            "---------\n"
            "größer  1\n");
}

TEST(TablePrinter, RowsThatComeLaterFitTheReservedWidth) {
  const TablePrinter table({{"step", Align::right, 6}, {"loss", Align::right, 8}});
  EXPECT_EQ(table.header(), "  step      loss\n----------------");
  EXPECT_EQ(table.row_line({"263", "0.352100"}), "   263  0.352100");
}

TEST(TablePrinter, RefusesARowOfAnotherLength) {
  TablePrinter table({{"one"}, {"two"}});
  EXPECT_THROW(table.add_row({"1"}), Error);
}

TEST(WithThousandsSeparators, GroupsDigitsByThree) {
  EXPECT_EQ(with_thousands_separators(0), "0");
  EXPECT_EQ(with_thousands_separators(999), "999");
  EXPECT_EQ(with_thousands_separators(1000), "1,000");
  EXPECT_EQ(with_thousands_separators(109483778), "109,483,778");
  EXPECT_EQ(with_thousands_separators(-123), "-123");
  EXPECT_EQ(with_thousands_separators(-1234), "-1,234");
}

TEST(Counted, OneIsNoPlural) {
  EXPECT_EQ(counted(0, "step"), "0 steps");
  EXPECT_EQ(counted(1, "step"), "1 step");
  EXPECT_EQ(counted(1234, "step"), "1,234 steps");
}

}  // namespace
}  // namespace bertdist
