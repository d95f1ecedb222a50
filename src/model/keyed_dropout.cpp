#include "model/keyed_dropout.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "base/target_clones.h"
#include "model/philox_mask.h"

namespace bertdist {

namespace {

constexpr int num_lanes = 16;
constexpr int group_size = 64;  // elements that num_lanes blocks of four words make

std::uint32_t low(std::uint64_t value) {
  return static_cast<std::uint32_t>(value);
}
std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

PhiloxKey row_key(const Dropout& dropout, std::int64_t row_id) {
  const auto row = static_cast<std::uint64_t>(row_id);
  const PhiloxCounter words =
      philox4x32({low(row), high(row), low(dropout.step), high(dropout.step)}, {low(dropout.seed), high(dropout.seed)});
  return {words[0], words[1]};
}

// Groups first to last - 1 of one row into mask, group_size values each: philox4x32, whose rounds the compiler unrolls
// and which it then computes for several lanes at once without leaving registers.
BERTDIST_TARGET_CLONES
void fill_groups(float* __restrict mask, std::int64_t first, std::int64_t last, std::uint32_t site, std::uint32_t key0,
                 std::uint32_t key1, std::uint32_t drop_below, float scale) {
  for (std::int64_t group = first; group < last; ++group, mask += group_size) {
    const std::uint64_t block = static_cast<std::uint64_t>(group) * num_lanes;  // a multiple of 16: lanes never carry
    for (int lane = 0; lane < num_lanes; ++lane) {
      std::uint32_t word0 = low(block) + static_cast<std::uint32_t>(lane), word1 = high(block), word2 = site, word3 = 0;
      std::uint32_t round_key0 = key0, round_key1 = key1;
#pragma GCC unroll 10
      for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53} * word0;
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * word2;
        word0 = high(product1) ^ word1 ^ round_key0;
        word1 = low(product1);
        word2 = high(product0) ^ word3 ^ round_key1;
        word3 = low(product0);
        round_key0 += 0x9E3779B9;
        round_key1 += 0xBB67AE85;
      }
      mask[lane] = word0 < drop_below ? 0.0f : scale;
      mask[lane + num_lanes] = word1 < drop_below ? 0.0f : scale;
      mask[lane + 2 * num_lanes] = word2 < drop_below ? 0.0f : scale;
      mask[lane + 3 * num_lanes] = word3 < drop_below ? 0.0f : scale;
    }
  }
}

}  // namespace

void require_fitting_rows(const at::Tensor& x, std::span<const std::int64_t> row_ids,
                          std::span<const std::int64_t> offsets) {
  if (offsets.size() == row_ids.size() + 1 && offsets.front() == 0 && offsets.back() == x.numel()) return;
  throw Error(ExitCode::internal, "the rows of a dropout mask do not fit its tensor");
}

KeyedMask::KeyedMask(double p, const Dropout& dropout, DropoutSite site)
    : dropout_(dropout),
      site_(site),
      drop_below_(static_cast<std::uint32_t>(std::min(p * 0x1p32, 0x1p32 - 1))),
      keep_factor_(static_cast<float>(1.0 / (1.0 - p))) {}

void KeyedMask::fill(float* mask, std::int64_t row_id, std::int64_t first, std::int64_t count) const {
  const PhiloxKey key = row_key(dropout_, row_id);
  const auto fill_whole = [&](float* target, std::int64_t begin, std::int64_t end) {
    fill_groups(target, begin, end, site_.id, key[0], key[1], drop_below_, keep_factor_);
  };
  const auto fill_part = [&](std::int64_t group, std::int64_t offset, std::int64_t size) {
    std::array<float, group_size> values;
    fill_whole(values.data(), group, group + 1);
    mask = std::copy_n(values.begin() + offset, size, mask);
    count -= size;
  };
  std::int64_t group = first / group_size;
  if (first % group_size != 0) {
    fill_part(group, first % group_size, std::min(group_size - first % group_size, count));
    ++group;
  }
  const std::int64_t num_whole = count / group_size;
  fill_whole(mask, group, group + num_whole);
  mask += num_whole * group_size;
  if (count % group_size != 0) fill_part(group + num_whole, 0, count % group_size);
}

at::Tensor keyed_dropout_by_operators(const at::Tensor& x, double p, const Dropout& dropout, DropoutSite site,
                                      std::span<const std::int64_t> row_ids, std::span<const std::int64_t> offsets) {
  require_fitting_rows(x, row_ids, offsets);
  if (p == 0.0) return x;
  const KeyedMask mask(p, dropout, site);
  std::vector<PhiloxKey> keys;
  keys.reserve(row_ids.size());
  for (const std::int64_t row_id : row_ids) keys.push_back(row_key(dropout, row_id));
  const at::Tensor keep = philox_keep_mask(keys, offsets, site.id, mask.drop_below(), x.device());
  // Of the two factors backward keeps the mask alone, one byte an element.
  return x * keep.view(x.sizes()) * mask.keep_factor();
}

at::Tensor keyed_dropout(const at::Tensor& x, double p, const Dropout& dropout, DropoutSite site,
                         std::span<const std::int64_t> row_ids, std::span<const std::int64_t> offsets) {
  if (!x.is_cpu()) return keyed_dropout_by_operators(x, p, dropout, site, row_ids, offsets);
  require_fitting_rows(x, row_ids, offsets);
  if (p == 0.0) return x;
  const KeyedMask keyed_mask(p, dropout, site);
  at::Tensor mask = at::empty(x.sizes(), at::kFloat);
  float* values = mask.mutable_data_ptr<float>();
  at::parallel_for(0, static_cast<std::int64_t>(row_ids.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      keyed_mask.fill(values + offsets[row], row_ids[row], 0, offsets[row + 1] - offsets[row]);
    }
  });
  return x * mask.to(x.scalar_type());
}

at::Tensor keyed_dropout(const at::Tensor& x, double p, const Dropout& dropout, DropoutSite site,
                         std::span<const std::int64_t> row_ids) {
  const auto num_rows = static_cast<std::int64_t>(row_ids.size());
  std::vector<std::int64_t> offsets(row_ids.size() + 1, 0);
  for (std::int64_t row = 1; row <= num_rows; ++row) offsets[row] = x.numel() / num_rows * row;
  return keyed_dropout(x, p, dropout, site, row_ids, offsets);
}

}  // namespace bertdist
