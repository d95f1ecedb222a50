#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "optim/flat_parameters.h"

namespace bertdist {

// A part of FlatParameters::reduced() that the ranks sum in one call.
struct GradientBucket {
  std::int64_t offset;
  std::int64_t count;
  std::vector<std::size_t> parameters;  // whose gradients it holds, as indices of FlatParameters::slices()
};

// The order in which backward makes gradients is about that of the parameters from the last to the first, so this is
// the order of the buckets: the decayed parameters, which are the matrices, from the end of the model to its beginning;
// each bucket is closed when it holds `cap_bytes`, the first one when it holds 1 MiB, so that the network has something
// to do early (as in PyTorch's DistributedDataParallel). The last bucket has the biases and LayerNorms of all layers,
// which are small, and the elements behind the gradients. One bucket where `cap_bytes` are enough for all, or are 0, or
// two where the last one is wanted `apart`.
std::vector<GradientBucket> plan_gradient_buckets(const FlatParameters& parameters, std::int64_t cap_bytes,
                                                  bool apart = false);

struct GradientReducerOptions {
  double ddp_bucket_cap_mb = 25;  // MiB; 0: one bucket
  bool overlap_grad_reduce = false;
  bool grad_reduce_in_bf16 = false;  // all buckets but the last one, which stays float32
};

// Sums the gradients of all ranks, and the elements behind them. With `overlap_grad_reduce` and several buckets each is
// on its way as soon as backward has made its gradients, while backward goes on; otherwise all are summed in finish().
// Where sums are in the order of ranks neither makes a difference to a single bit. With `grad_reduce_in_bf16` the ranks
// exchange gradients of matrices rounded to bfloat16, and get their sum rounded to it.
class GradientReducer {
 public:
  // `reduced` is where parameters.reduced() lies; all must outlive the reducer. Not collective, but order() must be the
  // same on all ranks.
  GradientReducer(const FlatParameters& parameters, const Buffer& reduced, Communicator& communicator,
                  const GradientReducerOptions& options);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  const std::vector<GradientBucket>& buckets() const { return buckets_; }
  std::string order() const;  // which parameters are in which bucket

  // Before the backward that completes the step's gradients, on a rank that has one. From here on to finish() the rank
  // uses the communicator for nothing else.
  void begin();
  // Collective, in every step: on return all buckets are summed. Throws what a collective throws; so does the backward
  // that follows begin().
  void finish();

 private:
  class ReadyHook;

  void note_ready(std::size_t parameter);
  void start_next();
  Buffer to_send(std::size_t bucket);
  void receive_bf16();
  std::string name(std::size_t bucket) const;

  const FlatParameters& parameters_;
  Buffer reduced_;
  Communicator& communicator_;
  std::vector<GradientBucket> buckets_;
  std::vector<std::size_t> bucket_of_;     // of each parameter
  at::Tensor bf16_;                        // bfloat16 [num_decayed_elements], what travels; undefined in float32
  std::unique_ptr<AllReduceQueue> queue_;  // where reductions overlap with backward
  bool is_armed_ = false;                  // between begin() and finish()
  std::vector<std::size_t> num_missing_;   // gradients of each bucket that backward has yet to make
  std::size_t next_ = 0;                   // bucket to start
};

}  // namespace bertdist
