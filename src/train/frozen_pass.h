#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "data/batch_plan.h"
#include "model/frozen_encoder.h"
#include "train/dataset.h"

namespace bertdist {

// What a forward-only pass takes at once: enough for the matrix products to run at their full rate, on a CPU few enough
// for the activations to stay in cache.
inline BatchLimit forward_batch(bool on_device) {
  return {.tokens = on_device ? 16'384 : 512};
}

// A split's rows without repetitions, longest first: rows of the same tokens and types share what frozen layers make of
// them.
struct DistinctRows {
  explicit DistinctRows(const Dataset& dataset);

  std::vector<std::int64_t> indices;  // [distinct], of one row of each in the data set
  std::vector<std::int32_t> lengths;  // [distinct], in tokens
  std::vector<std::int64_t> place;    // [rows], by index: its place in `indices`
  std::int64_t num_tokens = 0;        // of the distinct rows
  std::string content_hash;           // of the tokens and types of all rows, in their order
};

using FeatureSink = std::function<void(std::span<const float> values)>;
enum class Receivers { root, all_ranks };

// Collective. Runs the encoder once over each distinct row. The receivers' `sink` gets all output, piece by piece, in
// the order of `rows`: which batch a row is in, and so its last bits, depends neither on the number of ranks nor on
// that of threads. Memory is that of a few batches of each rank.
void run_frozen_pass(const FrozenEncoder& encoder, const Dataset& dataset, const DistinctRows& rows,
                     Receivers receivers, Communicator& communicator, const FeatureSink& sink);

}  // namespace bertdist
