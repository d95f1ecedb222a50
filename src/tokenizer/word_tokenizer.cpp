#include "tokenizer/word_tokenizer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <span>

namespace bertdist {
namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

// Ids of a block's words, gathered without asking at each one whether there is room.
class BlockIds {
 public:
  void append(const WordCache::Entry& entry) {
    std::memcpy(ids_ + size_, entry.ids, sizeof(entry.ids));
    size_ += entry.num_ids;
  }
  void move_to(std::vector<std::int32_t>& ids) {
    ids.insert(ids.end(), ids_, ids_ + size_);
    size_ = 0;
  }

 private:
  std::int32_t ids_[AsciiBlock::capacity * WordCache::max_ids];
  std::size_t size_ = 0;
};

}  // namespace

void WordTokenizer::tokenize(std::string_view text, std::size_t limit, Scratch& scratch,
                             std::vector<std::int32_t>& ids) const {
  while (!text.empty() && ids.size() < limit) {
    std::size_t done = tokenize_block(text, scratch, ids);
    if (done == 0) done = tokenize_long_stretch(text, limit, scratch, ids);
    text.remove_prefix(done);
  }
}

// Returns how many bytes it dealt with: up to the start of a word that the block holds only a part of.
std::size_t WordTokenizer::tokenize_block(std::string_view text, Scratch& scratch,
                                          std::vector<std::int32_t>& ids) const {
  AsciiBlock block;
  block.read(text, normalizer_->options().lowercase);
  const std::uint64_t stretches = ~(block.whitespace | block.punctuation);
  std::uint64_t starts = (stretches & ~(stretches << 1)) | block.punctuation;
  const std::uint64_t ends = ~stretches | block.punctuation << 1;
  std::size_t done = std::min(text.size(), AsciiBlock::capacity);
  if (text.size() > AsciiBlock::capacity && (stretches >> 63) != 0) {
    done = 63 - static_cast<std::size_t>(std::countl_zero(starts));
    starts &= (std::uint64_t{1} << done) - 1;
  }

  BlockIds found;
  for (; starts != 0; starts &= starts - 1) {
    const auto begin = static_cast<std::size_t>(std::countr_zero(starts));
    const std::uint64_t ends_behind = ends >> begin >> 1;
    const std::size_t size =
        ends_behind == 0 ? AsciiBlock::capacity - begin : static_cast<std::size_t>(std::countr_zero(ends_behind)) + 1;
    if (size <= WordCache::max_word_size) {
      if (const auto* known = scratch.cache.find({block.bytes + begin, size}); known != nullptr) {
        found.append(*known);
        continue;
      }
    }
    found.move_to(ids);
    tokenize_new_word(block, begin, size, scratch, ids);
  }
  found.move_to(ids);
  return done;
}

void WordTokenizer::tokenize_new_word(const AsciiBlock& block, std::size_t begin, std::size_t size, Scratch& scratch,
                                      std::vector<std::int32_t>& ids) const {
  const std::size_t num_ids_before = ids.size();
  const std::string_view word(block.bytes + begin, size);
  const std::uint64_t is_normal = (block.letters_and_digits | block.punctuation) >> begin;
  if (static_cast<std::size_t>(std::countr_one(is_normal)) >= size) {
    word_piece_->append_word(word, size, ids);
  } else {
    tokenize_stretch(word, no_limit, scratch, ids);
  }
  if (size <= WordCache::max_word_size)
    scratch.cache.insert({block.bytes + begin, size}, std::span(ids).subspan(num_ids_before));
}

// One that begins with `text` and does not end within a block.
std::size_t WordTokenizer::tokenize_long_stretch(std::string_view text, std::size_t limit, Scratch& scratch,
                                                 std::vector<std::int32_t>& ids) const {
  AsciiBlock block;
  std::size_t size = 0;
  for (std::uint64_t ends = 0; ends == 0 && size < text.size();) {
    block.read(text.substr(size), false);
    ends = block.whitespace | block.punctuation;
    size += std::min(text.size() - size, static_cast<std::size_t>(std::countr_zero(ends)));
  }
  tokenize_stretch(text.substr(0, size), limit, scratch, ids);
  return size;
}

void WordTokenizer::tokenize_stretch(std::string_view stretch, std::size_t limit, Scratch& scratch,
                                     std::vector<std::int32_t>& ids) const {
  normalizer_->normalize(stretch, scratch.normalized, scratch.marks);
  word_piece_->tokenize(scratch.normalized, limit, ids);
}

}  // namespace bertdist
