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
#include <cmath>
#include <numeric>

#include "base/target_clones.h"

namespace bertdist {

namespace {

constexpr double kClipEpsilon = 1e-6;  // clip_grad_norm_'s own
constexpr std::int64_t kBlock = 2048;  // elements: a few words' embeddings, and a part of the first-level cache
constexpr std::int64_t kBlocksPerTask = 32;

std::int64_t num_blocks(std::int64_t num_elements) {
  return (num_elements + kBlock - 1) / kBlock;
}

// visit(block) for all, on all threads. Tasks are dealt out in turn: blocks that have nothing to do lie together.
template <typename Visit>
void for_each_block(std::int64_t num_elements, const Visit& visit) {
  const std::int64_t num = num_blocks(num_elements), num_tasks = (num + kBlocksPerTask - 1) / kBlocksPerTask;
  const std::int64_t num_shares = std::min<std::int64_t>(at::get_num_threads(), num_tasks);
  at::parallel_for(0, num_shares, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t share = begin; share < end; ++share) {
      for (std::int64_t task = share; task < num_tasks; task += num_shares) {
        const std::int64_t last = std::min(num, (task + 1) * kBlocksPerTask);
        for (std::int64_t block = task * kBlocksPerTask; block < last; ++block) visit(block);
      }
    }
  });
}

struct Range {
  std::int64_t first, count;
};

Range range_of(std::int64_t block, std::int64_t num_elements) {
  return {block * kBlock, std::min(kBlock, num_elements - block * kBlock)};
}

BERTDIST_TARGET_CLONES
bool is_zero(const float* values, std::int64_t count) {
  std::int32_t num_others = 0;
  for (std::int64_t i = 0; i < count; ++i) num_others += values[i] == 0.0f ? 0 : 1;
  return num_others == 0;
}

// In lanes: a sum in one variable waits for each addition.
BERTDIST_TARGET_CLONES
double sum_of_squares(const float* values, std::int64_t count) {
  constexpr std::int64_t kLanes = 16;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (; i < count; ++i) lanes[0] += static_cast<double>(values[i]) * values[i];
  return std::accumulate(lanes, lanes + kLanes, 0.0);
}

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

void AdamW::set_num_updates(std::int64_t num_updates) {
  num_updates_ = num_updates;
  idle_.clear();
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

void AdamW::step(double learning_rate, float gradient_scale) {
  if (idle_.empty()) find_idle_blocks();
  const AdamWStep step = begin_step(learning_rate);
  const Buffers buffers{.values = parameters_.values().data_ptr<float>(),
                        .exp_avg = exp_avg_.data_ptr<float>(),
                        .exp_avg_sq = exp_avg_sq_.data_ptr<float>(),
                        .gradients = parameters_.reduced().data_ptr<float>()};
  for_each_block(parameters_.num_elements(), [&](std::int64_t block) { update(block, buffers, step, gradient_scale); });
}

void AdamW::find_idle_blocks() {
  const std::int64_t num_elements = parameters_.num_elements();
  const float* const exp_avg = exp_avg_.const_data_ptr<float>();
  const float* const exp_avg_sq = exp_avg_sq_.const_data_ptr<float>();
  idle_.resize(static_cast<std::size_t>(num_blocks(num_elements)));
  for_each_block(num_elements, [&](std::int64_t block) {
    const auto [first, count] = range_of(block, num_elements);
    idle_[static_cast<std::size_t>(block)] = is_zero(exp_avg + first, count) && is_zero(exp_avg_sq + first, count);
  });
}

void AdamW::update(std::int64_t block, const Buffers& buffers, const AdamWStep& step, float gradient_scale) {
  const auto [first, count] = range_of(block, parameters_.num_elements());
  float* const gradients = buffers.gradients + first;
  std::uint8_t& idle = idle_[static_cast<std::size_t>(block)];
  idle = idle && is_zero(gradients, count);
  const auto update_part = [&](std::int64_t begin, std::int64_t end, double weight_decay) {
    if (begin >= end || (idle && weight_decay == 0)) return;
    AdamWStep part = step;
    part.weight_decay = weight_decay;
    const std::int64_t offset = first + begin;
    update_adamw(buffers.values + offset, buffers.exp_avg + offset, buffers.exp_avg_sq + offset, gradients + begin,
                 end - begin, gradient_scale, part);
  };
  const std::int64_t decayed = std::clamp<std::int64_t>(parameters_.num_decayed_elements() - first, 0, count);
  update_part(0, decayed, step.weight_decay);
  update_part(decayed, count, 0);
  if (!idle) std::fill_n(gradients, count, 0.0f);
}

double grad_norm(const FlatParameters& parameters) {
  const std::int64_t num_elements = parameters.num_elements();
  const float* const gradients = parameters.reduced().const_data_ptr<float>();
  std::vector<double> squares(static_cast<std::size_t>(num_blocks(num_elements)));
  for_each_block(num_elements, [&](std::int64_t block) {
    const auto [first, count] = range_of(block, num_elements);
    squares[static_cast<std::size_t>(block)] = sum_of_squares(gradients + first, count);
  });
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
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
