#include "tokenizer/bert_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/error.h"

namespace bertdist {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##s\n!\ncafe\n";

class BertTokenizerTest : public testing::Test {
 protected:
  BertTokenizerTest() : folder_(fs::temp_directory_path() / ("bert_tokenizer_test." + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~BertTokenizerTest() override { fs::remove_all(folder_); }

  void write(const char* name, const std::string& content) const { std::ofstream(folder_ / name) << content; }

  BertTokenizer load() const { return BertTokenizer::from_pretrained(folder_); }

  // The message and the hint of the Error(model) that loading throws.
  std::string load_error() const {
    try {
      load();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
      return error.what() + (" " + error.hint());
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  fs::path folder_;
};

std::string tokenizer_json(const std::string& model, const std::string& normalizer) {
  return R"({"added_tokens": [], "normalizer": {"type": ")" + normalizer +
         R"("}, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]}, "model": )" +
         model + "}";
}

const std::string word_piece =
    R"({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 7}})";

TEST_F(BertTokenizerTest, EncodesOneTextAndPairs) {
  write("vocab.txt", vocab);
  const BertTokenizer tokenizer = load();
  Encoding out;
  EXPECT_EQ(tokenizer.encode("Hello Worlds! Café [MASK]", std::nullopt, 512, TruncationStrategy::longest_first, out),
            0U);
  EXPECT_THAT(out.input_ids, ElementsAre(2, 5, 6, 7, 8, 9, 4, 3));
  EXPECT_THAT(out.token_type_ids, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  tokenizer.encode("hello", "world world", 5, TruncationStrategy::longest_first, out);
  EXPECT_THAT(out.input_ids, ElementsAre(2, 5, 3, 6, 3));
  EXPECT_THAT(out.token_type_ids, ElementsAre(0, 0, 0, 1, 1));
}

TEST_F(BertTokenizerTest, CountsInvalidUtf8InBothTextsBeyondTheTruncation) {
  write("vocab.txt", vocab);
  Encoding out;
  EXPECT_EQ(load().encode("hello\xFF hello hello \xC0", "\xE2\x82 world", 4, TruncationStrategy::longest_first, out),
            3U);
  EXPECT_EQ(load().encode("hello hello hello \xC0", std::nullopt, 3, TruncationStrategy::longest_first, out), 1U);
  EXPECT_THAT(out.input_ids, ElementsAre(2, 5, 3));
}

TEST_F(BertTokenizerTest, NamesItsSpecialTokens) {
  write("tokenizer.json", tokenizer_json(word_piece, "BertNormalizer"));
  const BertTokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.vocab_size(), 8U);
  EXPECT_EQ(tokenizer.unk_token_id(), 0);
  EXPECT_EQ(tokenizer.cls_token_id(), 1);
  EXPECT_EQ(tokenizer.sep_token_id(), 2);
  EXPECT_EQ(tokenizer.pad_token_id(), -1);
  EXPECT_EQ(tokenizer.mask_token_id(), -1);
}

TEST_F(BertTokenizerTest, FingerprintFollowsWhatDecidesIds) {
  write("vocab.txt", vocab);
  const std::string fingerprint = load().fingerprint();
  EXPECT_EQ(load().fingerprint(), fingerprint);
  write("tokenizer_config.json", R"({"model_max_length": 17})");
  EXPECT_EQ(load().fingerprint(), fingerprint);
  write("tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_NE(load().fingerprint(), fingerprint);
  write("tokenizer_config.json", R"({"additional_special_tokens": ["hello"]})");
  EXPECT_NE(load().fingerprint(), fingerprint);
  write("tokenizer_config.json", "{}");
  write("vocab.txt", std::string(vocab) + "more\n");
  EXPECT_NE(load().fingerprint(), fingerprint);
}

TEST_F(BertTokenizerTest, ServesSeveralThreads) {
  write("vocab.txt", vocab);
  const BertTokenizer tokenizer = load();
  const auto work = [&](const char* text, std::vector<std::int32_t> expected) {
    Encoding out;
    for (int i = 0; i < 2000; ++i) {
      tokenizer.encode(text, std::nullopt, 512, TruncationStrategy::longest_first, out);
      ASSERT_EQ(out.input_ids, expected);
    }
  };
  std::thread other(work, "hello world", std::vector<std::int32_t>{2, 5, 6, 3});
  work("Café!", {2, 9, 8, 3});
  other.join();
}

TEST_F(BertTokenizerTest, AnEncodingMayServeSeveralTokenizers) {
  write("vocab.txt", vocab);
  const BertTokenizer first = load();
  write("vocab.txt", "world\n" + std::string(vocab));
  const BertTokenizer second = load();
  Encoding out;
  for (int i = 0; i < 2; ++i) {
    first.encode("hello", std::nullopt, 512, TruncationStrategy::longest_first, out);
    EXPECT_THAT(out.input_ids, ElementsAre(2, 5, 3));
    second.encode("hello", std::nullopt, 512, TruncationStrategy::longest_first, out);
    EXPECT_THAT(out.input_ids, ElementsAre(3, 6, 4));
  }
}

TEST_F(BertTokenizerTest, SaysWhatIsMissingOrDamaged) {
  EXPECT_THAT(load_error(), HasSubstr("no tokenizer.json and no vocab.txt"));
  write("vocab.txt", "hello\nworld\n");
  EXPECT_THAT(load_error(), HasSubstr("no token for unknown words, '[UNK]'"));
  write("vocab.txt", "[UNK]\n\xFF\n");
  EXPECT_THAT(load_error(), HasSubstr("not UTF-8"));
  write("tokenizer.json", "{\"model\": ");
  EXPECT_THAT(load_error(), HasSubstr("is not JSON"));
  write("tokenizer.json", "[]");
  EXPECT_THAT(load_error(), HasSubstr("does not hold a JSON object"));
}

TEST_F(BertTokenizerTest, RefusesOtherKindsOfTokenizer) {
  write("tokenizer.json", tokenizer_json(R"({"type": "BPE", "vocab": {}, "merges": []})", "BertNormalizer"));
  EXPECT_THAT(load_error(),
              testing::AllOf(HasSubstr("model is of type BPE"), HasSubstr("bertdist reads BERT's tokenizer")));
  write("tokenizer.json", tokenizer_json(word_piece, "NFC"));
  EXPECT_THAT(load_error(), HasSubstr("normalizer is of type NFC"));
  write("tokenizer.json", tokenizer_json(R"({"type": "WordPiece", "vocab": {}})", "BertNormalizer"));
  EXPECT_THAT(load_error(), HasSubstr("unk_token"));
  std::string negative_id = word_piece;
  negative_id.replace(negative_id.find("7}"), 1, "-7");
  write("tokenizer.json", tokenizer_json(negative_id, "BertNormalizer"));
  EXPECT_THAT(load_error(), HasSubstr("-7 is not a token id"));
}

}  // namespace
}  // namespace bertdist
