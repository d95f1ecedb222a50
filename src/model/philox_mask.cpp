#include "model/philox_mask.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/stack.h>

#include <optional>

#include "model/upload.h"

namespace bertdist {

namespace {

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kGroupSize = 64;  // elements of kLanes blocks of four words
constexpr std::int64_t kRounds = 10;
constexpr std::int64_t kLowWord = 0xFFFFFFFF;

// What the table has of each row: the two words of each round's key, then these.
constexpr std::int64_t kNumGroups = 2 * kRounds;
constexpr std::int64_t kFirstGroup = kNumGroups + 1;
constexpr std::int64_t kNumElements = kNumGroups + 2;
constexpr std::int64_t kPaddingBefore = kNumGroups + 3;  // elements of earlier rows' last groups that are not theirs
constexpr std::int64_t kNumValues = kNumGroups + 4;

struct RowTable {
  at::Tensor values;  // int64 [kNumValues, rows]
  std::int64_t num_groups = 0;
};

RowTable make_table(std::span<const PhiloxKey> row_keys, std::span<const std::int64_t> offsets, at::Device device) {
  const std::int64_t num_rows = std::ssize(row_keys);
  RowTable table{at::empty({kNumValues, num_rows}, at::kLong)};
  auto* const values = table.values.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const auto value = [&](std::int64_t which) -> std::int64_t& { return values[which * num_rows + row]; };
    PhiloxKey key = row_keys[static_cast<std::size_t>(row)];
    for (std::int64_t round = 0; round < kRounds; ++round) {
      value(2 * round) = key[0];
      value(2 * round + 1) = key[1];
      key[0] += 0x9E3779B9;
      key[1] += 0xBB67AE85;
    }
    const std::int64_t first = offsets[static_cast<std::size_t>(row)];
    value(kNumElements) = offsets[static_cast<std::size_t>(row) + 1] - first;
    value(kNumGroups) = (value(kNumElements) + kGroupSize - 1) / kGroupSize;
    value(kFirstGroup) = table.num_groups;
    value(kPaddingBefore) = table.num_groups * kGroupSize - first;
    table.num_groups += value(kNumGroups);
  }
  table.values = upload(table.values, device);
  return table;
}

// Which row each of so many groups or elements is of. The number as std::optional chooses, of the operators of that
// name, the one that need not ask the device for it.
at::Tensor row_of_each(const at::Tensor& counts, std::int64_t total) {
  return at::repeat_interleave(counts, std::optional(total));
}

// The words of all blocks of all rows, int64 [groups, 4, lanes]. philox4x32 on numbers of 64 bits: products wrap there,
// and of a word only the low half counts, so that what is not multiplied next needs no masking.
at::Tensor philox_words(const RowTable& table, std::uint32_t site) {
  const auto options = table.values.options();
  const at::Tensor row_of_group = row_of_each(table.values.select(0, kNumGroups), table.num_groups);
  const at::Tensor of_group = table.values.index_select(1, row_of_group);  // [kNumValues, groups]
  const at::Tensor group = at::arange(table.num_groups, options) - of_group.select(0, kFirstGroup);
  const at::Tensor block = (group * kLanes).unsqueeze(1) + at::arange(kLanes, options);  // [groups, lanes]
  at::Tensor word0 = block.bitwise_and(kLowWord);
  at::Tensor word1 = block.bitwise_right_shift(32);
  at::Tensor word2 = at::full({1, 1}, static_cast<std::int64_t>(site), options);
  at::Tensor word3 = at::full({1, 1}, 0, options);
  for (std::int64_t round = 0; round < kRounds; ++round) {
    const at::Tensor product0 = word0 * std::int64_t{0xD2511F53};
    const at::Tensor product1 = word2 * std::int64_t{0xCD9E8D57};
    const auto mix = [&](const at::Tensor& product, const at::Tensor& word, std::int64_t key) {
      const at::Tensor mixed = product.bitwise_right_shift(32).bitwise_xor(word);
      return mixed.bitwise_xor(of_group.select(0, 2 * round + key).unsqueeze(1)).bitwise_and_(kLowWord);
    };
    word0 = mix(product1, word1, 0);
    word2 = mix(product0, word3, 1);
    word1 = product1;
    word3 = product0;
  }
  return at::stack({word0, word1.bitwise_and_(kLowWord), word2, word3.bitwise_and_(kLowWord)}, 1);
}

}  // namespace

at::Tensor philox_keep_mask(std::span<const PhiloxKey> row_keys, std::span<const std::int64_t> offsets,
                            std::uint32_t site, std::uint32_t drop_below, at::Device device) {
  const std::int64_t num_elements = offsets.back();
  if (num_elements == 0) return at::empty({0}, at::TensorOptions(at::kBool).device(device));
  const RowTable table = make_table(row_keys, offsets, device);
  const at::Tensor keep = philox_words(table, site).ge(static_cast<std::int64_t>(drop_below)).view({-1});
  if (table.num_groups * kGroupSize == num_elements) return keep;
  const at::Tensor row_of_element = row_of_each(table.values.select(0, kNumElements), num_elements);
  const at::Tensor padding = table.values.select(0, kPaddingBefore).index_select(0, row_of_element);
  return keep.index_select(0, at::arange(num_elements, table.values.options()) + padding);
}

}  // namespace bertdist
