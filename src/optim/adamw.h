#pragma once

#include <cstdint>

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
  // Counts an update that the caller does himself, on values and moments, and says what it is to be.
  AdamWStep begin_step(double learning_rate);

  // The state that a checkpoint holds: moments of [num_elements] and the number of updates done.
  const at::Tensor& exp_avg() const { return exp_avg_; }
  const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  std::int64_t num_updates() const { return num_updates_; }
  void set_num_updates(std::int64_t num_updates) { num_updates_ = num_updates; }

 private:
  void update(std::int64_t offset, std::int64_t count, float gradient_scale, const AdamWStep& step);

  FlatParameters& parameters_;
  AdamWOptions options_;
  std::int64_t num_updates_ = 0;
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
};

double grad_norm(const FlatParameters& parameters);  // the 2-norm; not finite when any gradient is not

// What torch.nn.utils.clip_grad_norm_ scales gradients of this norm by, so that theirs is at most max_norm: 1 where
// they are short enough, or max_norm is 0.
float clip_factor(double norm, double max_norm);

// The same two where the host is not to wait for the device: float32 scalars there. clip_divisor is 1 / clip_factor.
at::Tensor grad_norm_on_device(const FlatParameters& parameters);
at::Tensor clip_divisor(const at::Tensor& norm, double max_norm);

}  // namespace bertdist
