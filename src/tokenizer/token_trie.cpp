#include "tokenizer/token_trie.h"

#include <algorithm>
#include <array>
#include <queue>

namespace bertdist {
namespace {

constexpr std::size_t num_bytes = 256;

// The tokens in [begin, end) share the `depth` bytes that lead to `state`.
struct Branch {
  TokenTrie::State state;
  std::size_t begin;
  std::size_t end;
  std::size_t depth;
};

struct Child {
  unsigned char byte;
  std::size_t begin;
  std::size_t end;
};

}  // namespace

TokenTrie::TokenTrie(Tokens tokens) {
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<bool> taken;
  std::size_t first_free = 1;
  const auto grow_to = [&](std::size_t size) {
    if (nodes_.size() >= size) return;
    nodes_.resize(size);
    taken.resize(size);
  };
  grow_to(num_bytes);
  taken[root] = true;

  std::vector<Child> children;
  // Where the last node with so many children found its place: the gaps before it are mostly too small for another one.
  std::array<std::size_t, num_bytes + 1> search_from{};
  // A base at which none of the children's places is taken.
  const auto place = [&] {
    while (first_free < taken.size() && taken[first_free]) ++first_free;
    std::size_t& from = search_from[children.size()];
    from = std::max({from, first_free, children.front().byte + std::size_t{1}});
    for (;; ++from) {
      const std::size_t base = from - children.front().byte;
      grow_to(base + num_bytes);
      if (std::none_of(children.begin(), children.end(), [&](const Child& c) { return taken[base + c.byte]; }))
        return base;
    }
  };

  std::queue<Branch> branches;
  branches.push({root, 0, tokens.size(), 0});
  while (!branches.empty()) {
    const Branch branch = branches.front();
    branches.pop();
    children.clear();
    for (std::size_t i = branch.begin; i < branch.end; ++i) {
      const std::string& token = tokens[i].first;
      if (token.size() == branch.depth) {
        if (branch.depth > 0) nodes_[static_cast<std::size_t>(branch.state)].id = tokens[i].second;
        continue;
      }
      const auto byte = static_cast<unsigned char>(token[branch.depth]);
      if (children.empty() || children.back().byte != byte) children.push_back({byte, i, i});
      children.back().end = i + 1;
    }
    if (children.empty()) continue;
    const std::size_t base = place();
    nodes_[static_cast<std::size_t>(branch.state)].first_child = static_cast<State>(base);
    for (const Child& child : children) {
      const std::size_t state = base + child.byte;
      taken[state] = true;
      nodes_[state].parent = branch.state;
      branches.push({static_cast<State>(state), child.begin, child.end, branch.depth + 1});
    }
  }
}

TokenTrie::State TokenTrie::walk(std::string_view prefix) const {
  State state = root;
  for (const char byte : prefix) {
    state = step(state, static_cast<unsigned char>(byte));
    if (state == none) break;
  }
  return state;
}

}  // namespace bertdist
