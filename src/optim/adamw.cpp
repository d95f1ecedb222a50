#include "optim/adamw.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

namespace bertdist {

AdamW::AdamW(FlatParameters& parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      exp_avg_(at::zeros_like(parameters.values())),
      exp_avg_sq_(at::zeros_like(parameters.values())),
      state_step_(at::zeros({}, at::kFloat)) {}

void AdamW::set_num_updates(std::int64_t num_updates) {
  num_updates_ = num_updates;
  state_step_.fill_(static_cast<double>(num_updates));
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  set_num_updates(num_updates_ + 1);
  const std::int64_t decayed = parameters_.num_decayed_elements();
  update(0, decayed, learning_rate, options_.weight_decay);
  update(decayed, parameters_.num_elements() - decayed, learning_rate, 0.0);
}

AdamWStep AdamW::begin_step(double learning_rate) {
  set_num_updates(num_updates_ + 1);
  return {.learning_rate = learning_rate,
          .weight_decay = options_.weight_decay,
          .beta1 = options_.adam_beta1,
          .beta2 = options_.adam_beta2,
          .epsilon = options_.adam_epsilon,
          .num_updates = num_updates_};
}

void AdamW::update(std::int64_t offset, std::int64_t count, double learning_rate, double weight_decay) {
  if (count == 0) return;
  const auto part = [&](const at::Tensor& flat) { return std::vector<at::Tensor>{flat.narrow(0, offset, count)}; };
  at::_fused_adamw_(part(parameters_.values()), part(parameters_.gradients()), part(exp_avg_), part(exp_avg_sq_),
                    /*max_exp_avg_sqs=*/at::TensorList{}, {state_step_}, learning_rate, options_.adam_beta1,
                    options_.adam_beta2, weight_decay, options_.adam_epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

double clip_grad_norm(FlatParameters& parameters, double max_norm) {
  const at::NoGradGuard no_grad;
  at::Tensor gradients = parameters.gradients();
  const auto norm = gradients.norm().item<double>();
  if (const float factor = clip_factor(norm, max_norm); factor < 1) gradients.mul_(factor);
  return norm;
}

float clip_factor(double norm, double max_norm) {
  // The small constant is clip_grad_norm_'s own.
  const double factor = max_norm / (norm + 1e-6);
  return max_norm > 0 && factor < 1 ? static_cast<float>(factor) : 1.0f;
}

}  // namespace bertdist
