#include "debugging/source_rows.h"

#include <gmock/gmock.h>

#include "debugging/row_names.h"
#include "model/model_test_tools.h"

namespace bertdist {
namespace {

using testing::HasSubstr;

class SourceRowsTest : public testing::Test {
 protected:
  SourceRows write(const std::string& content) {
    write_whole_file(folder_.path() / "a.csv", content);
    return SourceRows(folder_.path() / "a.csv", {},
                      {.text_column = "text", .text_pair_column = {}, .label_column = "label"});
  }
  TemporaryFolder folder_;
};

TEST_F(SourceRowsTest, RowsAreFoundByTheLinesThatTheyBeginOn) {
  const SourceRows source = write("text,label\none,1\n\"two\nlines\",0\nthree,1\n");
  const std::vector<std::int64_t> lines = {5, 3, 5};
  const std::vector<SourceRow> rows = source.read(lines);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].text, "three");
  EXPECT_EQ(rows[1].text, "two\nlines");
  EXPECT_EQ(rows[1].label, "0");
  EXPECT_EQ(rows[2].line, 5);
  EXPECT_EQ(source.describe(3), source.file().string() + ":3: \"two lines\"");
}

TEST_F(SourceRowsTest, ALineWithoutARowIsAnErrorAndItsPlaceIsToldAllTheSame) {
  const SourceRows source = write("text,label\none,1\n");
  const std::int64_t line = 7;
  EXPECT_THAT(error_of([&] { source.read(std::span(&line, 1)); }).what(), HasSubstr("has no row on line 7"));
  EXPECT_EQ(source.describe(7), source.file().string() + ":7");
}

TEST_F(SourceRowsTest, OfManyRowsAFewAreListed) {
  const SourceRows source = write("text,label\na,1\nb,1\nc,1\nd,1\ne,1\nf,1\ng,1\n");
  const RowNames names([](std::int64_t row) { return row + 2; }, source);
  const std::vector<std::int64_t> rows = {6, 1, 2, 3, 4, 5, 0};
  EXPECT_THAT(names.list(rows), HasSubstr(source.file().string() + ":8: \"g\""));
  EXPECT_THAT(names.list(rows), HasSubstr("and 2 more rows"));
  EXPECT_EQ(names.list({}), "");
}

TEST(Shortened, CutsBetweenCharacters) {
  EXPECT_EQ(shortened("abc", 3), "abc");
  EXPECT_EQ(shortened("abcd", 3), "ab…");
  EXPECT_EQ(shortened("äöüß", 4), "äöüß");
  EXPECT_EQ(shortened("äöüßx", 4), "äöü…");
  EXPECT_EQ(shortened("a\nb", 3), "a b");
}

}  // namespace
}  // namespace bertdist
