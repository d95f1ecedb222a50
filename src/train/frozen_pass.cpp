#include "train/frozen_pass.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <malloc.h>

#include <algorithm>
#include <numeric>

#include "base/content_hash.h"
#include "data/split.h"
#include "train/in_turn.h"
#include "train/tensor_bytes.h"

namespace bertdist {

namespace {

// Of each rank, before what was computed is handed over.
constexpr std::size_t kBatchesPerRound = 32;

struct HashedRow {
  XXH128_hash_t hash;
  std::int64_t index;

  bool same_content(const HashedRow& other) const { return XXH128_isEqual(hash, other.hash) != 0; }
  bool operator<(const HashedRow& other) const {
    const int order = XXH128_cmp(&hash, &other.hash);
    return order != 0 ? order < 0 : index < other.index;
  }
};

HashedRow hash_row(const Dataset& dataset, std::int64_t index) {
  const std::int64_t row = dataset.row(index);
  PackedBatch batch = dataset.cache().pack(std::span(&row, 1));
  std::vector<std::int64_t>& content = batch.token_ids;
  content.insert(content.end(), batch.token_type_ids.begin(), batch.token_type_ids.end());
  return {XXH3_128bits(content.data(), content.size() * sizeof(std::int64_t)), index};
}

}  // namespace

DistinctRows::DistinctRows(const Dataset& dataset) : place(static_cast<std::size_t>(dataset.size())) {
  ContentHash all;
  std::vector<HashedRow> hashed;
  hashed.reserve(place.size());
  for (std::int64_t index = 0; index < dataset.size(); ++index) {
    hashed.push_back(hash_row(dataset, index));
    all.update(std::as_bytes(std::span(&hashed.back().hash, 1)));
  }
  content_hash = all.hex();

  std::sort(hashed.begin(), hashed.end());
  const auto length_of = [&](std::int64_t index) { return dataset.lengths()[static_cast<std::size_t>(index)]; };
  for (std::size_t i = 0; i < hashed.size(); ++i) {
    if (i == 0 || !hashed[i].same_content(hashed[i - 1])) indices.push_back(hashed[i].index);
    place[static_cast<std::size_t>(hashed[i].index)] = indices.back();
  }
  std::sort(indices.begin(), indices.end(), [&](std::int64_t a, std::int64_t b) {
    return length_of(a) != length_of(b) ? length_of(a) > length_of(b) : a < b;
  });
  std::vector<std::int64_t> place_of(place.size());
  for (std::size_t i = 0; i < indices.size(); ++i) {
    place_of[static_cast<std::size_t>(indices[i])] = static_cast<std::int64_t>(i);
    lengths.push_back(length_of(indices[i]));
    num_tokens += lengths.back();
  }
  for (std::int64_t& first : place) first = place_of[static_cast<std::size_t>(first)];
}

void run_frozen_pass(const FrozenEncoder& encoder, const Dataset& dataset, const DistinctRows& rows,
                     Receivers receivers, Communicator& communicator, const FeatureSink& sink) {
  const EvaluationPlan plan(all_rows(std::ssize(rows.indices)), rows.lengths, forward_batch(encoder.is_on_device()),
                            communicator.world_size());
  std::vector<std::vector<std::vector<std::int64_t>>> batches;  // of each rank
  for (int rank = 0; rank < communicator.world_size(); ++rank) batches.push_back(plan.batches(rank));
  const auto& mine = batches[static_cast<std::size_t>(communicator.rank())];

  const auto compute = [&](const std::vector<std::int64_t>& places) {
    const c10::NoGradGuard no_grad;
    std::vector<std::int64_t> indices;
    for (const std::int64_t place : places) indices.push_back(rows.indices[static_cast<std::size_t>(place)]);
    return on_host(encoder.forward(dataset.input(indices)));
  };
  communicator.progress().enter("output of the frozen layers");
  for (std::size_t begin = 0; begin < batches[0].size(); begin += kBatchesPerRound) {
    const std::size_t end = std::max(begin, std::min(begin + kBatchesPerRound, mine.size()));
    std::vector<at::Tensor> outputs(end - begin);
    for_each_in_turn(outputs.size(), [&](std::size_t i) {
      outputs[i] = compute(mine[begin + i]);
      communicator.progress().advance();
    });
    Bytes values;
    for (const at::Tensor& output : outputs) {
      const auto bytes = bytes_of(output);
      values.insert(values.end(), bytes.begin(), bytes.end());
    }
    const std::vector<Bytes> parts = receivers == Receivers::root ? communicator.gather_to_root(values, 0, "features")
                                                                  : communicator.all_gather(values, "features");
    ::malloc_trim(0);  // batches of other sizes leave holes
    if (parts.empty()) continue;
    // Batches were dealt in turn: so they are taken back.
    std::vector<std::size_t> used(parts.size());
    for (std::size_t i = begin; i < std::min(begin + kBatchesPerRound, batches[0].size()); ++i) {
      for (std::size_t rank = 0; rank < parts.size() && i < batches[rank].size(); ++rank) {
        const std::vector<std::int64_t>& batch = batches[rank][i];
        const std::int64_t num_vectors =
            encoder.gives_cls_only() ? std::ssize(batch)
                                     : std::accumulate(batch.begin(), batch.end(), std::int64_t{0},
                                                       [&](std::int64_t sum, std::int64_t place) {
                                                         return sum + rows.lengths[static_cast<std::size_t>(place)];
                                                       });
        const auto count = static_cast<std::size_t>(num_vectors * encoder.hidden_size());
        const auto* data = reinterpret_cast<const float*>(parts[rank].data()) + used[rank];
        sink(std::span(data, count));
        used[rank] += count;
      }
    }
  }
}

}  // namespace bertdist
