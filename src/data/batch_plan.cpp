#include "data/batch_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/philox.h"

namespace bertdist {

namespace {

constexpr std::uint32_t kShuffleUse = 0x73687566;  // keeps these draws apart from other uses of the same seed

// Below `bound`; the bias of at most bound / 2^64 is far below what any run could notice.
std::uint64_t draw_below(std::uint64_t bound, std::uint64_t index, std::uint64_t seed, std::uint32_t stream) {
  const PhiloxCounter bits =
      philox4x32({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32U), stream, kShuffleUse},
                 {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)});
  const std::uint64_t random = std::uint64_t{bits[1]} << 32U | bits[0];
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(static_cast<Wide>(random) * bound >> 64U);
}

void require_positive(std::int64_t value, const char* name) {
  if (value < 1) throw Error(ExitCode::internal, fmt::format("{} is {}, must be at least 1", name, value));
}

std::int64_t divide_up(std::size_t value, std::int64_t by) {
  return (static_cast<std::int64_t>(value) + by - 1) / by;
}

std::span<const std::int64_t> batch_of(const std::vector<std::int64_t>& order, std::int64_t index, std::int64_t size) {
  const auto begin = static_cast<std::size_t>(index * size);
  if (index < 0 || begin >= order.size()) throw Error(ExitCode::internal, fmt::format("there is no batch {}", index));
  return std::span(order).subspan(begin, std::min(static_cast<std::size_t>(size), order.size() - begin));
}

}  // namespace

std::vector<std::int64_t> shuffled_indices(std::size_t size, std::uint64_t seed, std::uint32_t stream) {
  std::vector<std::int64_t> indices(size);
  std::iota(indices.begin(), indices.end(), std::int64_t{0});
  for (std::size_t i = size; i > 1; --i) std::swap(indices[i - 1], indices[draw_below(i, i, seed, stream)]);
  return indices;
}

TrainPlan::TrainPlan(const Options& options, std::span<const std::int64_t> rows, std::span<const std::int32_t> lengths)
    : options_(options),
      order_(shuffled_indices(rows.size(), options.seed, static_cast<std::uint32_t>(options.epoch))),
      lengths_(lengths) {
  require_positive(options.global_batch_size, "global_batch_size");
  require_positive(options.world_size, "world_size");
  for (std::int64_t& index : order_) index = rows[static_cast<std::size_t>(index)];
}

std::int64_t TrainPlan::num_steps() const {
  return divide_up(order_.size(), options_.global_batch_size);
}

std::span<const std::int64_t> TrainPlan::global_rows(std::int64_t step) const {
  return batch_of(order_, step, options_.global_batch_size);
}

std::vector<std::int64_t> TrainPlan::rows(std::int64_t step, int rank) const {
  const std::span<const std::int64_t> batch = global_rows(step);
  const std::vector<std::vector<std::size_t>> shares = balance_by_tokens(batch, lengths_, options_.world_size);
  const std::vector<std::size_t>& share = shares.at(static_cast<std::size_t>(rank));
  std::vector<std::int64_t> rows(share.size());
  std::transform(share.begin(), share.end(), rows.begin(), [&](std::size_t position) { return batch[position]; });
  return rows;
}

std::vector<std::vector<std::size_t>> balance_by_tokens(std::span<const std::int64_t> rows,
                                                        std::span<const std::int32_t> lengths, int num_shares) {
  const auto length = [&](std::size_t position) {
    return std::int64_t{lengths[static_cast<std::size_t>(rows[position])]};
  };
  std::vector<std::size_t> longest_first(rows.size());
  std::iota(longest_first.begin(), longest_first.end(), std::size_t{0});
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](std::size_t a, std::size_t b) { return length(a) > length(b); });
  std::vector<std::vector<std::size_t>> shares(static_cast<std::size_t>(num_shares));
  std::vector<std::int64_t> tokens(shares.size());
  for (const std::size_t position : longest_first) {
    const auto least = static_cast<std::size_t>(std::min_element(tokens.begin(), tokens.end()) - tokens.begin());
    tokens[least] += length(position);
    shares[least].push_back(position);
  }
  for (std::vector<std::size_t>& share : shares) std::sort(share.begin(), share.end());
  return shares;
}

EvaluationPlan::EvaluationPlan(std::span<const std::int64_t> rows, std::span<const std::int32_t> lengths,
                               const BatchLimit& limit, int world_size)
    : order_(rows.begin(), rows.end()), world_size_(world_size) {
  require_positive(limit.rows, "batch size");
  require_positive(world_size, "world_size");
  const auto length = [&](std::int64_t row) { return std::int64_t{lengths[static_cast<std::size_t>(row)]}; };
  std::stable_sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
    return length(a) != length(b) ? length(a) > length(b) : a < b;
  });
  std::int64_t batch_rows = 0, batch_tokens = 0;
  for (std::size_t i = 0; i < order_.size(); ++i) {
    if (i == 0 || batch_rows == limit.rows || batch_tokens + length(order_[i]) > limit.tokens) {
      begins_.push_back(i);
      batch_rows = batch_tokens = 0;
    }
    ++batch_rows;
    batch_tokens += length(order_[i]);
  }
  begins_.push_back(order_.size());
}

std::int64_t EvaluationPlan::num_batches() const {
  return std::ssize(begins_) - 1;
}

std::vector<std::vector<std::int64_t>> EvaluationPlan::batches(int rank) const {
  std::vector<std::vector<std::int64_t>> batches;
  for (auto batch = static_cast<std::size_t>(rank); batch + 1 < begins_.size();
       batch += static_cast<std::size_t>(world_size_)) {
    batches.emplace_back(order_.begin() + static_cast<std::ptrdiff_t>(begins_[batch]),
                         order_.begin() + static_cast<std::ptrdiff_t>(begins_[batch + 1]));
  }
  return batches;
}

}  // namespace bertdist
