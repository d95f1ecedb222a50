#pragma once

#include <cstdint>
#include <vector>

#include "optim/flat_parameters.h"
#include "optim/linear_kernels.h"

namespace bertdist {

struct AdamWOptions {
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double weight_decay = 0.0;
};

// AdamW with decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2), as torch.optim.AdamW computes it, on
// the flat buffers, on all threads.
class AdamW {
 public:
  // Keeps a reference to the parameters, which must outlive it.
  AdamW(FlatParameters& parameters, const AdamWOptions& options);

  // One update of every parameter from gradient_scale * parameters.gradients(), which are zero afterwards: each is read
  // once.
  void step(double learning_rate, float gradient_scale = 1);
  // The same by ATen's fused operator on the buffers' device, which this only tells what to do: the gradients are
  // divided by `grad_scale`, and where `found_inf` is 1 nothing but the gradients changes. Both are float32 scalars
  // there.
  void step_on_device(double learning_rate, const at::Tensor& grad_scale, const at::Tensor& found_inf);
  // Counts an update that the caller does himself, on values and moments, and says what it is to be. One optimiser has
  // either such updates or step()'s.
  AdamWStep begin_step(double learning_rate);

  // The state that a checkpoint holds: moments of [num_elements] and the number of updates done. Whoever writes to the
  // moments calls set_num_updates before the next step.
  const at::Tensor& exp_avg() const { return exp_avg_; }
  const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  std::int64_t num_updates() const { return num_updates_; }
  void set_num_updates(std::int64_t num_updates);

 private:
  struct Buffers {
    float *values, *exp_avg, *exp_avg_sq, *gradients;
  };
  void find_idle_blocks();
  void update(std::int64_t block, const Buffers& buffers, const AdamWStep& step, float gradient_scale);

  FlatParameters& parameters_;
  AdamWOptions options_;
  std::int64_t num_updates_ = 0;
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
  // Blocks whose moments are all zero, such as the embeddings of words that no batch has had: as long as their
  // gradient is zero too, an update changes nothing but by weight decay. Empty: not known.
  std::vector<std::uint8_t> idle_;
};

// The 2-norm; not finite when any gradient is not. Its bits do not depend on the number of threads.
double grad_norm(const FlatParameters& parameters);

// What torch.nn.utils.clip_grad_norm_ scales gradients of this norm by, so that theirs is at most max_norm: 1 where
// they are short enough, or max_norm is 0.
float clip_factor(double norm, double max_norm);

// The same two where the host is not to wait for the device: float32 scalars there. clip_divisor is 1 / clip_factor.
at::Tensor grad_norm_on_device(const FlatParameters& parameters);
at::Tensor clip_divisor(const at::Tensor& norm, double max_norm);

}  // namespace bertdist
