#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "debugging/row_names.h"
#include "model/bert.h"
#include "model/module_observer.h"
#include "optim/flat_parameters.h"

namespace bertdist {

// Finds where the first NaN or Inf of a step appears. All functions but set_step throw Error(numeric) there, naming
// step, module, what of it is not finite, and the rows.
class FiniteObserver final : public ModuleObserver {
 public:
  // Both must outlive it, and it the backward of what it has seen.
  FiniteObserver(const BertForSequenceClassification& model, const RowNames& rows) : model_(model), rows_(rows) {}

  void set_step(std::int64_t step) { step_ = step; }  // from 0

  // Forward at once; backward when the gradient of `output` is there: the module that made it is the one that reads
  // the output.
  void observe(std::string_view module, const at::Tensor& output, std::string_view used_by,
               const ObservedRows& rows) override;

 private:
  [[noreturn]] void fail(const std::string& what, std::string_view hint, const at::Tensor& values,
                         std::span<const std::int64_t> row_ids, std::span<const std::int64_t> offsets) const;
  std::string own_parameters(std::string_view module) const;

  const BertForSequenceClassification& model_;
  const RowNames& rows_;
  std::int64_t step_ = 0;
};

bool is_finite(const at::Tensor& values);
// "3 of 64 elements are NaN, 1 is Inf"
std::string count_not_finite(const at::Tensor& values);

}  // namespace bertdist
