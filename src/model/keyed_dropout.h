#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace bertdist {

// What keys the masks of one training step.
struct Dropout {
  std::uint64_t seed;
  std::uint64_t step;
};

// Where in the network a mask is used. Every site has masks of its own.
struct DropoutSite {
  std::uint32_t id;

  static constexpr DropoutSite embeddings() { return {0}; }
  static constexpr DropoutSite attention_probs(std::int64_t layer) { return of_layer(layer, 0); }
  static constexpr DropoutSite attention_output(std::int64_t layer) { return of_layer(layer, 1); }
  static constexpr DropoutSite output(std::int64_t layer) { return of_layer(layer, 2); }
  static constexpr DropoutSite classifier() { return {0xFFFFFFFF}; }

 private:
  static constexpr DropoutSite of_layer(std::int64_t layer, std::uint32_t which) {
    return {static_cast<std::uint32_t>(1 + 3 * layer) + which};
  }
};

// Inverted dropout whose mask is a pure function of (seed, step, row, site, element), so that it depends neither on the
// rows that share a batch nor on the rank or the number of threads that computes it.
//
// Row i of the batch owns the elements offsets[i] to offsets[i + 1] of the contiguous tensor x; `element` counts from 0
// within them, so for [tokens, hidden] it is position * hidden + column. offsets has one entry more than row_ids,
// begins at 0 and ends at x.numel().
//
// The mapping to Philox4x32-10: a row's key is the first two words of philox(counter = {row, step}, key = seed), 64
// bits each, low word first. Element e is word (e / 16) % 4 of philox(counter = {block low, block high, site, 0}, key)
// with block = e / 64 * 16 + e % 16; 64 elements that lie side by side thus come from 16 blocks, the shape that
// vectorises. The element is dropped where its word is below p * 2^32, else multiplied by 1 / (1 - p). The masks are
// the same on all devices.
at::Tensor keyed_dropout(const at::Tensor& x, double p, const Dropout& dropout, DropoutSite site,
                         std::span<const std::int64_t> row_ids, std::span<const std::int64_t> offsets);

// The same by operators that every device has, to the bit for float32; the CPU, which has a faster way, does not use
// it.
at::Tensor keyed_dropout_by_operators(const at::Tensor& x, double p, const Dropout& dropout, DropoutSite site,
                                      std::span<const std::int64_t> row_ids, std::span<const std::int64_t> offsets);

// The same where every row owns x.numel() / row_ids.size() elements.
at::Tensor keyed_dropout(const at::Tensor& x, double p, const Dropout& dropout, DropoutSite site,
                         std::span<const std::int64_t> row_ids);

// Throws Error(internal) unless `offsets` are as above.
void require_fitting_rows(const at::Tensor& x, std::span<const std::int64_t> row_ids,
                          std::span<const std::int64_t> offsets);

// The same masks, for code that multiplies while it computes.
class KeyedMask {
 public:
  KeyedMask(double p, const Dropout& dropout, DropoutSite site);

  float keep_factor() const { return keep_factor_; }  // 1 / (1 - p)
  std::uint32_t drop_below() const { return drop_below_; }
  // mask = elements first to first + count - 1 of a row's, each 0 or keep_factor().
  void fill(float* mask, std::int64_t row_id, std::int64_t first, std::int64_t count) const;

 private:
  Dropout dropout_;
  DropoutSite site_;
  std::uint32_t drop_below_;
  float keep_factor_;
};

}  // namespace bertdist
