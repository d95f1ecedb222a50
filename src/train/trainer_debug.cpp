// What debug mode looks at in a step, and steps that are no training: replays, and batches to overfit.

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "debugging/finite_observer.h"
#include "model/classification_loss.h"
#include "train/divergence.h"
#include "train/trainer.h"

namespace bertdist {

StepResult Trainer::replay(std::int64_t last) {
  for (;;) {
    if (const auto signal = stop_.signal()) {
      throw Error(ExitCode::preempted, fmt::format("stopped by {} after step {}", *signal, state_.global_step));
    }
    const std::optional<StepResult> result = train_step(state_.global_step);
    if (++state_.global_step == last) return *result;
  }
}

OverfitResult Trainer::overfit(double target) {
  OverfitResult result{.num_steps = 0, .loss = 0};
  for (std::uint64_t pass = 1;; ++pass) {
    double sum = 0;
    for (std::int64_t batch = 0; batch < steps_per_epoch_; ++batch) {
      sum += replay(state_.global_step + 1).loss;
    }
    result = {.num_steps = state_.global_step, .loss = sum / static_cast<double>(steps_per_epoch_)};
    const bool is_over = result.loss < target || state_.global_step + steps_per_epoch_ > state_.max_steps;
    if (is_over || std::has_single_bit(pass)) log_.info("step {}: mean loss {:.4g}", result.num_steps, result.loss);
    if (is_over) return result;
  }
}

// So that a phase's time is not that of putting its work into the device's queue.
void Trainer::drain_device() {
  const at::Device device = model_.device();
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

void Trainer::enter(StepPhase phase) {
  if (!debugger_) return;
  drain_device();
  debugger_->enter(phase);
}

void Trainer::check_batch(std::span<const std::int64_t> indices, const ForwardInput& input, const at::Tensor& labels) {
  if (!debugger_) return;
  enter(StepPhase::checks);
  if (input.tokens.token_ids.defined()) {
    debugger_->check_batch(input.tokens, labels);
  } else {
    debugger_->check_labels(input.tokens.row_ids, labels);
  }
  if (model_.frozen_output_is_constant()) check_frozen_output(train_forward_.frozen_output(input), indices);
}

void Trainer::check_head_batch(std::int64_t step, std::span<const std::int64_t> indices, const at::Tensor& features,
                               const at::Tensor& labels) {
  if (!debugger_) return;
  enter(StepPhase::checks);
  const std::vector<std::int64_t> row_ids = train_.rows(indices);
  debugger_->check_labels(row_ids, labels);
  check_frozen_output(features, indices);
  const c10::NoGradGuard no_grad;
  model_.head_logits(features, row_ids, dropout_of(step));  // the debugger sees what HeadStep computes in one
}

void Trainer::check_frozen_output(const at::Tensor& output, std::span<const std::int64_t> indices) {
  if (is_finite(output)) return;
  const c10::NoGradGuard no_grad;
  model_.cls_hidden(train_.input(indices), std::nullopt);  // fails where the debugger sees it
  throw Error(
      ExitCode::numeric,
      fmt::format("the frozen layers' output is not finite ({}); computed in float32 it is", count_not_finite(output)),
      "set dtype = \"float32\"");
}

// Which rows: each one is tried alone.
void Trainer::check_gradients(std::int64_t step, std::span<const std::int64_t> indices) {
  if (!debugger_) return;
  enter(StepPhase::checks);
  const std::optional<std::size_t> parameter = debugger_->gradient_not_finite(parameters_);
  if (!parameter) return;
  const at::Tensor gradient = FlatParameters::view(parameters_.gradients(), parameters_.slices()[*parameter]);
  const std::string count = count_not_finite(gradient);
  model_.set_observer(nullptr);
  std::vector<std::int64_t> row_ids;
  for (const std::int64_t index : indices) {
    parameters_.gradients().zero_();
    loss_of(std::span(&index, 1), std::ssize(indices), step).backward();
    if (!is_finite(gradient)) row_ids.push_back(train_.row(index));
  }
  debugger_->fail_gradient(parameters_, *parameter, count, row_ids);
}

at::Tensor Trainer::loss_of(std::span<const std::int64_t> indices, std::int64_t global_count, std::int64_t step) const {
  return classification_loss(train_forward_.logits(indices, dropout_of(step)), train_.labels(indices),
                             config_.label_smoothing_factor, static_cast<double>(global_count));
}

// Where the step's own way does not show each module: once more through all of them.
void Trainer::find_anomaly(std::int64_t step, std::int64_t global_count) {
  if (!debugger_) return;
  for (const int rank : ranks_of_this_process()) {
    for (const std::vector<std::int64_t>& batch : micro_batches(step, rank)) {
      parameters_.gradients().zero_();
      loss_of(batch, global_count, step).backward();
      check_gradients(step, batch);
    }
  }
}

void Trainer::fail_not_finite(std::span<const std::int64_t> indices, const StepResult& result) {
  const std::int64_t step = result.step;
  find_anomaly(step, std::ssize(indices));
  const c10::NoGradGuard no_grad;
  std::string rows;
  for (const std::int64_t index : indices) {
    if (!std::isfinite(loss_of(std::span(&index, 1), 1, step).item<double>()))
      rows += fmt::format(" {}", train_.cache().source_line(train_.row(index)));
  }
  // Whoever fails first ends all ranks: not before rank 0 has written what it began.
  checkpoint_writer_.finish();
  std::string lines;
  for (const Bytes& part : communicator_.all_gather(std::as_bytes(std::span(rows)), "rows whose loss is not finite")) {
    lines.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  throw Error(ExitCode::numeric,
              fmt::format("step {}: loss {}, gradient norm {}: not finite; {}", step + 1, result.loss, result.grad_norm,
                          lines.empty() ? "the loss of each single row is finite" : "rows at lines" + lines),
              divergence_hint(role_ == TrainerRole::run ? &checkpoints_ : nullptr, step));
}

}  // namespace bertdist
