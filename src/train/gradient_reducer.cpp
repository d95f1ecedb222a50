#include "train/gradient_reducer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

#include "base/error.h"

namespace bertdist {

namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kElementSize = sizeof(float);

}  // namespace

std::vector<GradientBucket> plan_gradient_buckets(const FlatParameters& parameters, std::int64_t cap_bytes,
                                                  bool apart) {
  const auto& slices = parameters.slices();
  const std::int64_t total = parameters.reduced().numel();
  std::vector<GradientBucket> buckets;
  GradientBucket open{.offset = parameters.num_decayed_elements(), .count = 0, .parameters = {}};
  const bool fits = cap_bytes == 0 || total * kElementSize <= cap_bytes;
  std::size_t i = fits && !apart ? 0 : slices.size();
  for (; i > 0; --i) {
    const FlatParameters::Slice& slice = slices[i - 1];
    if (slice.offset >= parameters.num_decayed_elements()) continue;
    open.offset = slice.offset;
    open.count += slice.numel;
    open.parameters.push_back(i - 1);
    const std::int64_t limit = buckets.empty() ? std::min(kMiB, cap_bytes) : cap_bytes;
    const bool is_full = !fits && open.count * kElementSize >= limit;
    if (!is_full && slice.offset > 0) continue;
    buckets.push_back(std::exchange(open, {.offset = slice.offset, .count = 0, .parameters = {}}));
  }
  const std::int64_t rest = buckets.empty() ? 0 : parameters.num_decayed_elements();
  GradientBucket last{.offset = rest, .count = total - rest, .parameters = {}};
  for (std::size_t index = 0; index < slices.size(); ++index) {
    if (slices[index].offset >= rest) last.parameters.push_back(index);
  }
  buckets.push_back(std::move(last));
  return buckets;
}

// Called by autograd when a parameter has its gradient of one backward.
class GradientReducer::ReadyHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  ReadyHook(GradientReducer& reducer, std::size_t parameter) : reducer_(reducer), parameter_(parameter) {}
  void operator()(const at::Tensor&) override { reducer_.note_ready(parameter_); }

 private:
  GradientReducer& reducer_;
  const std::size_t parameter_;
};

GradientReducer::GradientReducer(const FlatParameters& parameters, const Buffer& reduced, Communicator& communicator,
                                 const GradientReducerOptions& options)
    : parameters_(parameters),
      reduced_(reduced),
      communicator_(communicator),
      buckets_(plan_gradient_buckets(parameters, static_cast<std::int64_t>(options.ddp_bucket_cap_mb * kMiB),
                                     options.grad_reduce_in_bf16)),
      bucket_of_(parameters.slices().size()) {
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    for (const std::size_t parameter : buckets_[bucket].parameters) bucket_of_[parameter] = bucket;
  }
  if (options.grad_reduce_in_bf16 && communicator.world_size() > 1) {
    bf16_ = at::empty({parameters.num_decayed_elements()}, parameters.reduced().options().dtype(at::kBFloat16));
  }
  if (!options.overlap_grad_reduce || buckets_.size() == 1 || communicator.world_size() == 1) return;
  queue_ = communicator.make_all_reduce_queue();
  for (std::size_t i = 0; i < bucket_of_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters.parameters()[i].tensor,
                                                   std::make_unique<ReadyHook>(*this, i));
  }
}

GradientReducer::~GradientReducer() {
  if (!queue_) return;
  for (const TrainableParameter& parameter : parameters_.parameters()) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
  }
}

std::string GradientReducer::order() const {
  std::string text;
  for (const GradientBucket& bucket : buckets_) {
    for (const std::size_t parameter : bucket.parameters) text += parameters_.slices()[parameter].name + " ";
    text += fmt::format("{} {}\n", bucket.offset, bucket.count);
  }
  return text;
}

void GradientReducer::begin() {
  if (!queue_) return;
  num_missing_.clear();
  for (const GradientBucket& bucket : buckets_) num_missing_.push_back(bucket.parameters.size());
  is_armed_ = true;
}

// The last bucket waits for finish(), because the caller has yet to write its last elements.
void GradientReducer::note_ready(std::size_t parameter) {
  if (!is_armed_) return;
  std::size_t& missing = num_missing_[bucket_of_[parameter]];
  if (missing == 0) {
    throw Error(ExitCode::internal,
                fmt::format("the gradient of {} was made twice in one backward", parameters_.slices()[parameter].name));
  }
  --missing;
  while (next_ + 1 < buckets_.size() && num_missing_[next_] == 0) start_next();
}

void GradientReducer::start_next() {
  queue_->start(to_send(next_), ReduceOp::sum, name(next_));
  ++next_;
}

void GradientReducer::finish() {
  is_armed_ = false;
  if (!queue_) {
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      communicator_.all_reduce(to_send(i), ReduceOp::sum, name(i));
    }
    receive_bf16();
    return;
  }
  // A rank without rows has started none.
  while (next_ < buckets_.size()) start_next();
  next_ = 0;
  queue_->finish();
  receive_bf16();
}

Buffer GradientReducer::to_send(std::size_t index) {
  const GradientBucket& bucket = buckets_[index];
  Buffer buffer = reduced_;
  buffer.data = static_cast<float*>(reduced_.data) + bucket.offset;
  buffer.count = static_cast<std::size_t>(bucket.count);
  if (!bf16_.defined() || index + 1 == buckets_.size()) return buffer;
  const c10::NoGradGuard no_grad;
  const at::Tensor rounded = bf16_.narrow(0, bucket.offset, bucket.count);
  rounded.copy_(parameters_.reduced().narrow(0, bucket.offset, bucket.count));
  buffer.data = rounded.mutable_data_ptr();
  buffer.dtype = DType::bfloat16;
  return buffer;
}

void GradientReducer::receive_bf16() {
  if (!bf16_.defined()) return;
  const c10::NoGradGuard no_grad;
  parameters_.reduced().narrow(0, 0, bf16_.numel()).copy_(bf16_);
}

std::string GradientReducer::name(std::size_t bucket) const {
  return buckets_.size() == 1 ? "gradients" : fmt::format("gradient bucket {} of {}", bucket + 1, buckets_.size());
}

}  // namespace bertdist
