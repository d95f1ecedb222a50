#include "optim/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace bertdist {

AdamW::AdamW(FlatParameters& parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      exp_avg_(at::zeros_like(parameters.values())),
      exp_avg_sq_(at::zeros_like(parameters.values())) {}

AdamWStep AdamW::begin_step(double learning_rate) {
  ++num_updates_;
  return {.learning_rate = learning_rate,
          .weight_decay = options_.weight_decay,
          .beta1 = options_.adam_beta1,
          .beta2 = options_.adam_beta2,
          .epsilon = options_.adam_epsilon,
          .num_updates = num_updates_};
}

void AdamW::step(double learning_rate, float gradient_scale) {
  AdamWStep step = begin_step(learning_rate);
  const std::int64_t decayed = parameters_.num_decayed_elements();
  update(0, decayed, gradient_scale, step);
  step.weight_decay = 0;
  update(decayed, parameters_.num_elements() - decayed, gradient_scale, step);
}

void AdamW::update(std::int64_t offset, std::int64_t count, float gradient_scale, const AdamWStep& step) {
  constexpr std::int64_t kGrain = 1 << 16;
  const auto at = [&](const at::Tensor& flat) { return flat.data_ptr<float>() + offset; };
  float* const values = at(parameters_.values());
  float* const gradients = at(parameters_.gradients());
  float* const exp_avg = at(exp_avg_);
  float* const exp_avg_sq = at(exp_avg_sq_);
  at::parallel_for(0, count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    update_adamw(values + begin, exp_avg + begin, exp_avg_sq + begin, gradients + begin, end - begin, gradient_scale,
                 step);
    std::fill(gradients + begin, gradients + end, 0.0f);
  });
}

double grad_norm(const FlatParameters& parameters) {
  const at::NoGradGuard no_grad;
  return parameters.gradients().norm().item<double>();
}

float clip_factor(double norm, double max_norm) {
  // The small constant is clip_grad_norm_'s own.
  const double factor = max_norm / (norm + 1e-6);
  return max_norm > 0 && factor < 1 ? static_cast<float>(factor) : 1.0f;
}

}  // namespace bertdist
