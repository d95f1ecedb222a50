#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace bertdist {

// 0 ... size-1 in an order that is a pure function of (size, seed, stream): Fisher-Yates whose i-th draw is Philox of
// the counter (i, stream, a constant of this use) under the key `seed`.
std::vector<std::int64_t> shuffled_indices(std::size_t size, std::uint64_t seed, std::uint32_t stream);

// One epoch of training: which rows, in which steps, on which ranks. A pure function of its arguments, the same on
// every rank without communication. Each row comes exactly once; every rank has num_steps() steps, in some of which it
// may have no row. The order, and with it what a step trains on, does not depend on world_size.
class TrainPlan {
 public:
  struct Options {
    std::uint64_t seed = 42;
    std::int64_t epoch = 0;
    std::int64_t global_batch_size = 8;  // rows a step, over all ranks; the last step may have fewer
    int world_size = 1;
  };
  // `rows` are the row ids to train on, `lengths[row]` the tokens of a row; `lengths` must outlive the plan.
  TrainPlan(const Options& options, std::span<const std::int64_t> rows, std::span<const std::int32_t> lengths);

  std::int64_t num_steps() const;
  // The row ids of a step. Any step at once: a resumed run need not walk through the earlier ones.
  std::span<const std::int64_t> global_rows(std::int64_t step) const;
  // This rank's share of global_rows(step), in the same order. Shares are balanced by tokens.
  std::vector<std::int64_t> rows(std::int64_t step, int rank) const;

 private:
  Options options_;
  std::vector<std::int64_t> order_;
  std::span<const std::int32_t> lengths_;
};

// Shares of rows, by position in `rows`, for `num_shares` ranks: the longest row first, each to the rank that has the
// fewest tokens so far.
std::vector<std::vector<std::size_t>> balance_by_tokens(std::span<const std::int64_t> rows,
                                                        std::span<const std::int32_t> lengths, int num_shares);

// How large a batch may be; a row that is longer than `tokens` is a batch of its own.
struct BatchLimit {
  std::int64_t rows = std::numeric_limits<std::int64_t>::max();
  std::int64_t tokens = std::numeric_limits<std::int64_t>::max();
};

// Evaluation: batches are formed over all rows, longest first, and dealt whole to the ranks in turn, so that the batch
// a row is in, and with it the bits of its logits, does not depend on the number of ranks.
class EvaluationPlan {
 public:
  EvaluationPlan(std::span<const std::int64_t> rows, std::span<const std::int32_t> lengths, const BatchLimit& limit,
                 int world_size);

  std::int64_t num_batches() const;
  // Row ids of this rank's batches; ranks may differ by one in their number.
  std::vector<std::vector<std::int64_t>> batches(int rank) const;

 private:
  std::vector<std::int64_t> order_;
  std::vector<std::size_t> begins_;  // [batches + 1], positions in order_
  int world_size_;
};

}  // namespace bertdist
