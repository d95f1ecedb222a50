#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "debugging/finite_observer.h"
#include "debugging/parameter_update.h"
#include "debugging/row_names.h"
#include "debugging/step_clock.h"
#include "debugging/step_trace.h"
#include "model/bert.h"
#include "optim/flat_parameters.h"

namespace bertdist {

// What debug mode looks at in the steps of a training, which tells it where it is. Steps are counted from 0.
class Debugger {
 public:
  // `rows` names those of the training split. The model must outlive it.
  Debugger(const BertForSequenceClassification& model, RowNames rows)
      : model_(model), rows_(std::move(rows)), observer_(model_, rows_) {}
  Debugger(const Debugger&) = delete;
  Debugger& operator=(const Debugger&) = delete;

  ModuleObserver& observer() { return observer_; }
  const RowNames& rows() const { return rows_; }
  // Traces a few of the coming `num_steps` steps into a file.
  void trace(const std::filesystem::path& file, std::int64_t num_steps) {
    trace_.emplace(file, num_steps, model_.device().is_cuda());
  }
  // The step of which the table of parameters is printed.
  void show_parameters_of(std::int64_t step) { shown_step_ = step; }
  bool shows_parameters_of(std::int64_t step) const { return step == shown_step_; }

  void begin_step(std::int64_t step);
  void enter(StepPhase phase);
  void end_step();

  // Throw Error(data).
  void check_batch(const BertInput& input, const at::Tensor& labels) const;
  void check_labels(std::span<const std::int64_t> row_ids, const at::Tensor& labels) const;

  // The trained parameter, as an index of slices(), at which backward first made a gradient that is not finite: the
  // last one of the model.
  std::optional<std::size_t> gradient_not_finite(const FlatParameters& parameters) const;
  // Throws Error(numeric). `row_ids` are the rows whose own gradient is not finite.
  [[noreturn]] void fail_gradient(const FlatParameters& parameters, std::size_t index, const std::string& count,
                                  std::span<const std::int64_t> row_ids) const;

  // The gradients of all ranks are summed, and nothing is updated yet.
  void before_update(std::int64_t step, const FlatParameters& parameters);
  void after_update(std::int64_t step, const FlatParameters& parameters);

  // What the steps took, and where the trace is. Empty where there was no step.
  std::string summary() const;

 private:
  std::string where() const;

  const BertForSequenceClassification& model_;
  const RowNames rows_;
  FiniteObserver observer_;
  StepClock clock_;
  std::optional<StepTrace> trace_;
  std::int64_t step_ = 0;
  std::optional<std::int64_t> shown_step_;
  std::optional<ParameterUpdate> update_;  // between before_update() and after_update() of that step
};

// For as long as it lives, a debugger, unless it is null, sees what the model's modules compute.
class Observing {
 public:
  Observing(BertForSequenceClassification& model, Debugger* debugger) : model_(model) {
    if (debugger != nullptr) model_.set_observer(&debugger->observer());
  }
  ~Observing() { model_.set_observer(nullptr); }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;

 private:
  BertForSequenceClassification& model_;
};

}  // namespace bertdist
