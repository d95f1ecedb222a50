#include "text/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "text/example.h"
#include "text/row_stream.h"

namespace bertdist {
namespace {

using testing::HasSubstr;

class TableTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

std::vector<Row> rows_of(const Table& table) {
  std::vector<Row> rows;
  RowReader reader(table, table.whole());
  for (Row row; reader.next(row);) rows.push_back(row);
  return rows;
}

template <typename Function>
Error error_of(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ExitCode::success, "");
}

TEST_F(TableTest, ABlockThatAnotherCopyOfTheFileHasIsNotHeld) {
  std::vector<TextBlock> blocks;
  const Table table(write("a.csv", "text,label\none,1\ntwo,2\nthree,3\n"), {});
  BlockScanner scanner(table, 1);
  while (scanner.advance(1, blocks)) {
  }
  ASSERT_EQ(blocks.size(), 3U);
  const Table copy(write("copy.csv", "text,label\none,1\ntwo,2\nthree,3\n"), {});
  const Table other(write("other.csv", "text,label\none,1\ntwo,7\nthree,3\n"), {});
  const Table shorter(write("shorter.csv", "text,label\none,1\n"), {});
  for (const TextBlock& block : blocks) EXPECT_TRUE(copy.holds(block)) << block.begin;
  EXPECT_TRUE(other.holds(blocks[0]) && !other.holds(blocks[1]) && other.holds(blocks[2]));
  EXPECT_TRUE(shorter.holds(blocks[0]) && !shorter.holds(blocks[1]) && !shorter.holds(blocks[2]));
  for (const TextBlock& block : blocks) {
    Row row;
    int num_rows = 0;
    for (RowReader reader(shorter, block); num_rows < 9 && reader.next(row);) ++num_rows;
    EXPECT_EQ(num_rows, block.begin == blocks[0].begin ? 1 : 0) << "of what is behind its end";
  }
}

TEST_F(TableTest, DialectGoesByTheExtension) {
  EXPECT_EQ(resolve_dialect({}, "a.CSV").quote, '"');
  EXPECT_EQ(resolve_dialect({}, "a.tsv").quote, std::nullopt);
  EXPECT_EQ(resolve_dialect({}, "a.tsv").delimiter, '\t');
  EXPECT_EQ(resolve_dialect({}, "a.jsonl").format, TableFormat::jsonl);
  EXPECT_EQ(error_of([] { resolve_dialect({}, "a.txt"); }).code(), ExitCode::configuration);
  TableOptions quoted;
  quoted.quote = "\"";
  EXPECT_EQ(resolve_dialect(quoted, "a.tsv").quote, '"');
}

TEST_F(TableTest, BadRowsSayWhatIsWrongAndTheNextRowIsRead) {
  const Table table(write("a.csv", "text,label\none,1\ntwo\n\"three\"x,3\nfour,4\n\"open,5\nsix,6\n"), {});
  const std::vector<Row> rows = rows_of(table);
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_EQ(rows[0].problem, "");
  EXPECT_THAT(rows[1].problem, HasSubstr("number of fields: 1, but 2 in the first record"));
  EXPECT_EQ(rows[1].line, 3);
  EXPECT_THAT(rows[2].problem, HasSubstr("closing quote of field 1"));
  EXPECT_EQ(rows[3].problem, "");
  EXPECT_THAT(rows[4].problem, HasSubstr("never closed"));
  EXPECT_EQ(rows[4].line, 6);
}

TEST_F(TableTest, BadJsonSaysWhatIsWrong) {
  const Table table(write("a.jsonl",
                          "{\"text\":\"a\",\"label\":0}\n{\"text\":\n[1]\n{\"text\":\"b\"}\n"
                          "{\"text\":5,\"label\":0}\n{\"text\":\"c\",\"label\":1.5}\n{\"text\":1e999}\n" +
                              std::string("{\"text\":") + std::string(5000, '[') + "\n"),
                    {});
  const ExampleReader examples(table.schema(),
                               {.text_column = "text", .text_pair_column = {}, .label_column = "label"});
  std::vector<Row> rows = rows_of(table);
  ASSERT_EQ(rows.size(), 8U);
  EXPECT_TRUE(examples.read(rows[0]));
  for (std::size_t i = 1; i < rows.size(); ++i) EXPECT_FALSE(examples.read(rows[i])) << i;
  EXPECT_THAT(rows[1].problem, HasSubstr("invalid JSON at byte"));
  EXPECT_THAT(rows[2].problem, HasSubstr("a JSON object is expected"));
  EXPECT_THAT(rows[3].problem, HasSubstr("no label in 'label'"));
  EXPECT_THAT(rows[4].problem, HasSubstr("'text' holds 5"));
  EXPECT_THAT(rows[5].problem, HasSubstr("neither a string nor an integer"));
  EXPECT_THAT(rows[7].problem, HasSubstr("nested too deeply"));
}

TEST_F(TableTest, ColumnsByNameOrNumber) {
  const Table table(write("a.csv", "\xEF\xBB\xBFtext,labels,1\na,0,x\n"), {});
  EXPECT_EQ(table.schema().column_index("labels", "label_column"), 1U);
  EXPECT_EQ(table.schema().column_index("0", "text_column"), 0U);
  EXPECT_EQ(table.schema().column_index("1", "text_column"), 2U);
  const Error error = error_of([&] { table.schema().column_index("label", "label_column"); });
  EXPECT_EQ(error.code(), ExitCode::data);
  EXPECT_THAT(error.what(), HasSubstr("'text', 'labels', '1'"));
  EXPECT_THAT(error.hint(), HasSubstr("labels"));
  EXPECT_THROW(table.schema().column_index("3", "text_column"), Error);
}

TEST_F(TableTest, WithoutAHeaderColumnsAreNumbers) {
  TableOptions options;
  options.header = false;
  const Table table(write("a.tsv", "ham\tsay \"hi\nspam\t\"free\" call\n"), options);
  EXPECT_EQ(table.schema().columns(), (std::vector<std::string>{"0", "1"}));
  const std::vector<Row> rows = rows_of(table);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].cells[1].text, "\"free\" call");
}

TEST_F(TableTest, FilesThatCannotBeTables) {
  EXPECT_THAT(error_of([&] { Table(folder_ / "none.csv", {}); }).what(), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { Table(write("empty.csv", ""), {}); }).what(), HasSubstr("is empty"));
  EXPECT_THAT(error_of([&] { Table(write("bom.csv", "\xEF\xBB\xBF\n\n"), {}); }).what(), HasSubstr("is empty"));
  EXPECT_THAT(error_of([&] { Table(write("wide.csv", "\xFF\xFEt"), {}); }).what(), HasSubstr("UTF-16"));
  EXPECT_THAT(error_of([&] { Table(write("small.csv", "\x1F\x8B\x08"), {}); }).what(), HasSubstr("gzip"));
  // A stream has it before it looks for the end of a record, which these bytes need not have.
  RowStream stream(write("small.csv", "\x1F\x8B\x08\"" + std::string(1000, 'x')), {});
  EXPECT_THAT(error_of([&] { stream.wait(std::chrono::seconds(10)); }).what(), HasSubstr("gzip"));
  std::filesystem::create_directories(folder_ / "folder.csv");
  EXPECT_THAT(error_of([&] { Table(folder_ / "folder.csv", {}); }).what(), HasSubstr("is a folder"));
}

TEST_F(TableTest, BytesThatAreNotUtf8PassThrough) {
  const Table table(write("a.csv", "text,label\na\xFF\xFEz,1\n"), {});
  EXPECT_EQ(rows_of(table)[0].cells[0].text, "a\xFF\xFEz");
}

}  // namespace
}  // namespace bertdist
