#include "tokenizer/token_trie.h"

#include <gtest/gtest.h>

namespace bertdist {
namespace {

TEST(TokenTrie, FindsTheLongestToken) {
  const TokenTrie trie({{"a", 1}, {"abc", 2}, {"b", 3}, {"\xC3\xA9", 4}});
  EXPECT_EQ(trie.longest_match("abd").id, 1);
  EXPECT_EQ(trie.longest_match("abcd").id, 2);
  EXPECT_EQ(trie.longest_match("abcd").length, 3U);
  EXPECT_EQ(trie.longest_match("\xC3\xA9").id, 4);
  EXPECT_FALSE(trie.longest_match("x"));
  EXPECT_FALSE(trie.longest_match(""));
}

TEST(TokenTrie, MatchesBehindAPrefix) {
  const TokenTrie trie({{"##ing", 1}, {"##", 2}, {"ing", 3}});
  EXPECT_EQ(trie.longest_match("ing", trie.walk("##")).id, 1);
  EXPECT_FALSE(trie.longest_match("x", trie.walk("##")));  // the prefix alone is no piece of a word
  EXPECT_EQ(trie.walk("@@"), TokenTrie::none);
}

TEST(TokenTrie, OfEqualTokensTheLastCountsAndTheEmptyOneIsNeverFound) {
  const TokenTrie trie({{"a", 1}, {"a", 7}, {"", 3}});
  EXPECT_EQ(trie.longest_match("ab").id, 7);
  EXPECT_FALSE(trie.longest_match("b"));
  EXPECT_FALSE(TokenTrie().longest_match("b"));
}

TEST(TokenTrie, HoldsEveryByteString) {
  TokenTrie::Tokens tokens;
  for (int a = 0; a < 256; ++a)
    for (int b = 0; b < 256; b += 5)
      tokens.emplace_back(std::string{static_cast<char>(a), static_cast<char>(b)}, a * 256 + b);
  const TokenTrie trie(tokens);
  for (const auto& [token, id] : tokens) EXPECT_EQ(trie.longest_match(token).id, id);
}

}  // namespace
}  // namespace bertdist
