#include "optim/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace bertdist {

namespace {

constexpr double kClipEpsilon = 1e-6;  // clip_grad_norm_'s own

}  // namespace

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

void AdamW::step_on_device(double learning_rate, const at::Tensor& grad_scale, const at::Tensor& found_inf) {
  const at::NoGradGuard no_grad;
  const AdamWStep step = begin_step(learning_rate);
  const at::Tensor num_updates = at::full({}, step.num_updates, parameters_.values().options());
  const at::Tensor gradients = parameters_.gradients();
  const auto update_part = [&](std::int64_t offset, std::int64_t count, double weight_decay) {
    if (count == 0) return;
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, offset, count); };
    at::_fused_adamw_({part(parameters_.values())}, {part(gradients)}, {part(exp_avg_)}, {part(exp_avg_sq_)},
                      /*max_exp_avg_sqs=*/{}, {num_updates}, learning_rate, step.beta1, step.beta2, weight_decay,
                      step.epsilon, /*amsgrad=*/false, /*maximize=*/false, grad_scale, found_inf);
  };
  const std::int64_t decayed = parameters_.num_decayed_elements();
  update_part(0, decayed, step.weight_decay);
  update_part(decayed, parameters_.num_elements() - decayed, 0);
  gradients.zero_();
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
  return grad_norm_on_device(parameters).item<double>();
}

at::Tensor grad_norm_on_device(const FlatParameters& parameters) {
  const at::NoGradGuard no_grad;
  return parameters.gradients().norm();
}

at::Tensor clip_divisor(const at::Tensor& norm, double max_norm) {
  const at::NoGradGuard no_grad;
  return max_norm > 0 ? ((norm + kClipEpsilon) / max_norm).clamp_min(1) : at::ones_like(norm);
}

float clip_factor(double norm, double max_norm) {
  const double factor = max_norm / (norm + kClipEpsilon);
  return max_norm > 0 && factor < 1 ? static_cast<float>(factor) : 1.0f;
}

}  // namespace bertdist
