#include "tokenizer/ascii_block.h"

#include <gtest/gtest.h>

#include <cctype>
#include <string>

namespace bertdist {
namespace {

bool is_white(unsigned char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Against the C library, in its "C" locale.
void expect_masks(const std::string& text) {
  AsciiBlock block;
  block.read(text, true);
  for (std::size_t i = 0; i < AsciiBlock::capacity; ++i) {
    const unsigned char c = i < text.size() ? static_cast<unsigned char>(text[i]) : ' ';
    const auto bit = [&](std::uint64_t mask) { return (mask >> i & 1) != 0; };
    EXPECT_EQ(bit(block.whitespace), is_white(c)) << int{c};
    EXPECT_EQ(bit(block.punctuation), c < 0x80 && std::ispunct(c) != 0) << int{c};
    EXPECT_EQ(bit(block.letters_and_digits), c < 0x80 && std::isalnum(c) != 0) << int{c};
    EXPECT_EQ(static_cast<unsigned char>(block.bytes[i]), c < 0x80 ? std::tolower(c) : c) << int{c};
  }
}

TEST(AsciiBlock, ClassifiesEveryByteAtEveryPlace) {
  std::string text;
  for (int c = 0; c < 256; ++c) text.push_back(static_cast<char>(c));
  text += text;
  for (std::size_t begin = 0; begin < 256; ++begin) expect_masks(text.substr(begin, AsciiBlock::capacity));
}

TEST(AsciiBlock, ReadsNothingBehindTheText) {
  for (std::size_t size = 0; size <= AsciiBlock::capacity + 1; ++size) {
    const std::string exactly(size, 'x');
    expect_masks(exactly);
  }
}

TEST(AsciiBlock, KeepsTheCaseWhereAsked) {
  AsciiBlock block;
  block.read("AbZ", false);
  EXPECT_EQ(std::string(block.bytes, 3), "AbZ");
}

}  // namespace
}  // namespace bertdist
