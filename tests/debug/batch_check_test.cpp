#include "debugging/batch_check.h"

#include <gmock/gmock.h>

#include "model/model_test_tools.h"

namespace bertdist {
namespace {

using testing::HasSubstr;

class BatchCheckTest : public testing::Test {
 protected:
  BatchCheckTest() {
    write_whole_file(folder_.path() / "rows.csv", "text,label\nfirst,0\nsecond,1\nthird,2\n");
    input_ = pack(random_rows({4, 6, 2}, 50), {0, 1, 2});
    labels_ = at::tensor(TokenIds{0, 1, 2}, at::kLong);
  }

  void check() const {
    const RowNames names([](std::int64_t row) { return row + 2; },
                         SourceRows(folder_.path() / "rows.csv", {},
                                    {.text_column = "text", .text_pair_column = {}, .label_column = "label"}));
    check_batch(input_, labels_, small_config(), names, "step 7");
  }
  void expect_error(const std::string& what, const std::string& row) const {
    const Error error = error_of([&] { check(); });
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), HasSubstr("step 7: " + what));
    EXPECT_THAT(error.what(), HasSubstr(row));
  }

  TemporaryFolder folder_;
  BertInput input_;
  at::Tensor labels_;
};

TEST_F(BatchCheckTest, AGoodBatchPasses) {
  check();
  input_ = pack(random_rows({32, 1}, 50), {2, 0});
  labels_ = at::tensor(TokenIds{2, 0}, at::kLong);
  check();
}

TEST_F(BatchCheckTest, TokenIdsAreInTheVocabulary) {
  input_.token_ids[6] = 50;
  expect_error("token_ids has 50 at position 2, which is not in [0, 50)", "rows.csv:3: \"second\"");
  input_.token_ids[6] = -1;
  expect_error("token_ids has -1 at position 2", "rows.csv:3: \"second\"");
}

TEST_F(BatchCheckTest, TypesAndPositionsAreTheModels) {
  input_.token_type_ids[11] = 2;
  expect_error("token_type_ids has 2 at position 1, which is not in [0, 2)", "rows.csv:4: \"third\"");
  input_.token_type_ids[11] = 0;
  input_.position_ids[0] = 32;
  expect_error("position_ids has 32 at position 0, which is not in [0, 32)", "rows.csv:2: \"first\"");
}

TEST_F(BatchCheckTest, LabelsAreClasses) {
  labels_[1] = 3;
  expect_error("the label is 3, which is not in [0, 3)", "rows.csv:3: \"second\"");
  labels_[1] = -1;
  expect_error("the label is -1", "rows.csv:3: \"second\"");
  labels_ = at::tensor(TokenIds{0, 1}, at::kLong);
  expect_error("2 labels for 3 rows", "rows.csv:2");
}

TEST_F(BatchCheckTest, SequencesFollowEachOtherAndFitTheModel) {
  input_.cu_seqlens = {0, 4, 4, 12};
  expect_error("cu_seqlens goes from 4 to 4", "rows.csv:3: \"second\"");
  input_.cu_seqlens = {0, 7, 4, 12};
  expect_error("cu_seqlens goes from 7 to 4", "rows.csv:3: \"second\"");
  input_.cu_seqlens = {0, 4, 10, 13};
  expect_error("cu_seqlens goes from 10 to 13", "rows.csv:4: \"third\"");
  input_.cu_seqlens = {0, 4, 10, 11};
  expect_error("cu_seqlens ends at 11, of 12 token_ids", "rows.csv:4: \"third\"");
  input_.cu_seqlens = {1, 4, 10, 12};
  expect_error("cu_seqlens has 4 entries from 1 on for 3 rows", "rows.csv:2");
  input_.cu_seqlens = {0, 4, 12};
  expect_error("cu_seqlens has 3 entries from 0 on for 3 rows", "rows.csv:2");
}

TEST_F(BatchCheckTest, ARowHasAsManyTokensAsTheModelHasPositions) {
  input_ = pack(random_rows({4, 33, 2}, 50), {0, 1, 2});
  expect_error("cu_seqlens goes from 4 to 37: 33 tokens, where the model has 32 positions", "rows.csv:3: \"second\"");
}

}  // namespace
}  // namespace bertdist
