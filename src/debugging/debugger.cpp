#include "debugging/debugger.h"

#include <fmt/format.h>

#include <cstdio>

#include "base/error.h"
#include "debugging/batch_check.h"
#include "report/table.h"

namespace bertdist {

void Debugger::begin_step(std::int64_t step) {
  step_ = step;
  observer_.set_step(step);
  if (trace_) trace_->begin_step();
  clock_.begin_step();
}

void Debugger::enter(StepPhase phase) {
  clock_.enter(phase);
  if (trace_) trace_->enter(name_of(phase));
}

void Debugger::end_step() {
  clock_.end_step();
  if (trace_) trace_->end_step();
}

std::string Debugger::where() const {
  return fmt::format("step {}", step_ + 1);
}

void Debugger::check_batch(const BertInput& input, const at::Tensor& labels) const {
  bertdist::check_batch(input, labels, model_.config(), rows_, where());
}

void Debugger::check_labels(std::span<const std::int64_t> row_ids, const at::Tensor& labels) const {
  bertdist::check_labels(row_ids, labels, model_.config(), rows_, where());
}

std::optional<std::size_t> Debugger::gradient_not_finite(const FlatParameters& parameters) const {
  const at::Tensor gradients = parameters.gradients();
  if (is_finite(gradients)) return std::nullopt;
  const auto& slices = parameters.slices();
  for (auto parameter = model_.parameters().rbegin(); parameter != model_.parameters().rend(); ++parameter) {
    for (std::size_t i = 0; i < slices.size(); ++i) {
      if (slices[i].name == parameter->name && !is_finite(FlatParameters::view(gradients, slices[i]))) return i;
    }
  }
  return std::nullopt;
}

void Debugger::fail_gradient(const FlatParameters& parameters, std::size_t index, const std::string& count,
                             std::span<const std::int64_t> row_ids) const {
  const std::string& name = parameters.slices()[index].name;
  throw Error(
      ExitCode::numeric,
      fmt::format(
          "{}, backward: {} is the first module whose gradient is not finite: that of its parameter {} ({}); {}",
          where(), name.substr(0, name.rfind('.')), name, count,
          row_ids.empty() ? "the gradient of each single row is finite, their sum is not"
                          : fmt::format("in {}:{}", counted(std::ssize(row_ids), "row"), rows_.list(row_ids))),
      "forward was finite: lower learning_rate or add warmup_steps");
}

void Debugger::before_update(std::int64_t step, const FlatParameters& parameters) {
  if (shows_parameters_of(step)) update_.emplace(parameters);
}

void Debugger::after_update(std::int64_t step, const FlatParameters& parameters) {
  if (!update_) return;
  fmt::print("parameters at step {}\n\n{}\n", step + 1, update_->table(model_, parameters));
  std::fflush(stdout);
  update_.reset();
}

std::string Debugger::summary() const {
  std::string text = clock_.table();
  if (trace_ && trace_->num_traced_steps() > 0) {
    text +=
        fmt::format("a trace of {} is in {}\n", counted(trace_->num_traced_steps(), "step"), trace_->file().string());
  }
  return text;
}

}  // namespace bertdist
