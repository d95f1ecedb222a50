#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace bertdist {
namespace {

TEST(Utf8, AppendAndDecodeAreInverse) {
  std::string text;
  const std::u32string code_points = {U'a', 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF};
  for (const char32_t c : code_points) utf8::append(text, c);
  std::size_t position = 0;
  for (const char32_t c : code_points) EXPECT_EQ(utf8::decode(text, position), c);
  EXPECT_EQ(position, text.size());
  for (auto c = code_points.rbegin(); c != code_points.rend(); ++c)
    EXPECT_EQ(utf8::decode_backwards(text, position), *c);
  EXPECT_EQ(position, 0U);
}

TEST(Utf8, ValidTextIsNotCopied) {
  std::string valid = "untouched";
  EXPECT_EQ(utf8::replace_invalid("plain text, längerer Text, 中文 \U0001D565", valid), 0U);
  EXPECT_EQ(valid, "untouched");
}

TEST(Utf8, EachMaximalInvalidPartIsReplacedOnce) {
  std::string valid;
  EXPECT_EQ(utf8::replace_invalid("12345678\xE2\x82 \xFF\xFF \xED\xA0\x80", valid), 6U);
  EXPECT_EQ(valid, "12345678\uFFFD \uFFFD\uFFFD \uFFFD\uFFFD\uFFFD");
}

}  // namespace
}  // namespace bertdist
