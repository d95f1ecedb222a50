#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bertdist {

// Remembers the ids of short words that were met lately. A word has its place in one of many sets of two, in one line
// of the processor's cache, and takes it from the one of the two that was not met for longer.
class WordCache {
 public:
  static constexpr std::size_t max_word_size = 16;
  static constexpr std::size_t max_ids = 3;

  // The bytes of a word, the unused ones zero.
  struct Key {
    std::uint64_t low;
    std::uint64_t high;
    std::uint64_t size;

    // `bytes`: max_word_size readable ones that start with the word, which has 1 to max_word_size.
    Key(const char* bytes, std::size_t word_size) : size(word_size) {
      std::memcpy(&low, bytes, sizeof(low));
      std::memcpy(&high, bytes + sizeof(low), sizeof(high));
      low &= masks[size][0];
      high &= masks[size][1];
    }
  };

  struct Entry {
    std::uint64_t low;
    std::uint64_t high;
    std::int32_t ids[max_ids];
    std::uint16_t num_ids;
    std::uint16_t word_size;  // 0: free

    bool holds(const Key& key) const { return low == key.low && high == key.high && word_size == key.size; }
  };

  // Forgets all where the ids of another tokenizer were kept.
  void use_for(const std::string& fingerprint) {
    if (fingerprint == fingerprint_) return;
    sets_.assign(num_sets, Set{});
    fingerprint_ = fingerprint;
  }

  // Null for a word that is not there. Only after use_for().
  const Entry* find(const Key& key) {
    Set& set = set_of(key);
    if (!set.recent.holds(key)) {
      if (!set.older.holds(key)) return nullptr;
      std::swap(set.recent, set.older);
    }
    return &set.recent;
  }

  // Keeps a word that was not found, if it has at most max_ids.
  void insert(const Key& key, std::span<const std::int32_t> ids) {
    if (ids.size() > max_ids) return;
    Set& set = set_of(key);
    set.older = set.recent;
    set.recent = {key.low, key.high, {}, static_cast<std::uint16_t>(ids.size()), static_cast<std::uint16_t>(key.size)};
    std::copy(ids.begin(), ids.end(), set.recent.ids);
  }

 private:
  struct alignas(64) Set {
    Entry recent;
    Entry older;
  };
  static_assert(sizeof(Set) == 64);

  static constexpr int log2_num_sets = 14;  // 1 MiB, a part of the second-level cache
  static constexpr std::size_t num_sets = std::size_t{1} << log2_num_sets;

  // [size][half]: the bytes that belong to a word.
  static constexpr auto masks = [] {
    std::array<std::array<std::uint64_t, 2>, max_word_size + 1> result{};
    for (std::size_t size = 0; size <= max_word_size; ++size)
      for (std::size_t i = 0; i < size; ++i) result[size][i / 8] |= std::uint64_t{0xFF} << i % 8 * 8;
    return result;
  }();

  Set& set_of(const Key& key) {
    // The upper bits of the products depend on all bytes.
    const std::uint64_t mixed = key.low * 0x9E3779B97F4A7C15U + key.high * 0xC2B2AE3D27D4EB4FU;
    return sets_[mixed >> (64 - log2_num_sets)];
  }

  std::vector<Set> sets_;
  std::string fingerprint_;
};

}  // namespace bertdist
