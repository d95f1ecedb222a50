#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bertdist {

// A set of strings, each with an id, that finds the longest one a text starts with in one pass over its bytes: a
// double-array trie, in which a step is one addition and one comparison.
class TokenTrie {
 public:
  using State = std::int32_t;
  static constexpr State root = 0;
  static constexpr State none = -1;

  struct Match {
    std::int32_t id = -1;    // -1: no token
    std::size_t length = 0;  // in bytes
    explicit operator bool() const { return id >= 0; }
  };

  using Tokens = std::vector<std::pair<std::string, std::int32_t>>;

  TokenTrie() : TokenTrie(Tokens{}) {}
  // Of equal strings the last one counts. The empty string is never found.
  explicit TokenTrie(Tokens tokens);

  // The longest token that `text` starts with, where the bytes that led to `from` count as read before.
  Match longest_match(std::string_view text, State from = root) const {
    Match match;
    State state = from;
    for (std::size_t i = 0; i < text.size(); ++i) {
      state = step(state, static_cast<unsigned char>(text[i]));
      if (state == none) break;
      if (const std::int32_t id = nodes_[static_cast<std::size_t>(state)].id; id >= 0) match = {id, i + 1};
    }
    return match;
  }

  // The state behind `prefix`, or none where no token starts with it.
  State walk(std::string_view prefix) const;

 private:
  struct Node {
    State first_child = 0;  // the child over byte b, if there is one, lies at first_child + b
    State parent = none;
    std::int32_t id = -1;  // of the token that ends here
  };

  State step(State state, unsigned char byte) const {
    const State child = nodes_[static_cast<std::size_t>(state)].first_child + byte;
    return nodes_[static_cast<std::size_t>(child)].parent == state ? child : none;
  }

  std::vector<Node> nodes_;
};

}  // namespace bertdist
