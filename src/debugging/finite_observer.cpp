#include "debugging/finite_observer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isinf.h>
#include <ATen/ops/isnan.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "report/table.h"

namespace bertdist {

namespace {

// The rows, in their order, that have something in `values`, [tokens, ...] or [batch, ...], which is not finite.
std::vector<std::int64_t> rows_not_finite(const at::Tensor& values, std::span<const std::int64_t> row_ids,
                                          std::span<const std::int64_t> offsets) {
  const bool has_entry_per_row = values.size(0) == std::ssize(row_ids);
  std::vector<std::int64_t> found;
  for (std::size_t row = 0; row < row_ids.size(); ++row) {
    const std::int64_t begin = has_entry_per_row ? static_cast<std::int64_t>(row) : offsets[row];
    const std::int64_t end = has_entry_per_row ? begin + 1 : offsets[row + 1];
    if (!is_finite(values.slice(0, begin, end))) found.push_back(row_ids[row]);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

bool is_finite(const at::Tensor& values) {
  const c10::NoGradGuard no_grad;
  return at::isfinite(values).all().item<bool>();
}

std::string count_not_finite(const at::Tensor& values) {
  const c10::NoGradGuard no_grad;
  return fmt::format("of {} elements {} NaN and {} Inf", with_thousands_separators(values.numel()),
                     with_thousands_separators(at::isnan(values).sum().item<std::int64_t>()),
                     with_thousands_separators(at::isinf(values).sum().item<std::int64_t>()));
}

void FiniteObserver::observe(std::string_view module, const at::Tensor& output, std::string_view used_by,
                             const ObservedRows& rows) {
  if (!is_finite(output)) {
    fail(fmt::format("forward: {} is the first module whose output is not finite ({}){}", module,
                     count_not_finite(output), own_parameters(module)),
         "such weights came with the model, or of a learning_rate that is too high", output, rows.row_ids,
         rows.offsets);
  }
  if (!output.requires_grad()) return;
  const std::vector<std::int64_t> row_ids(rows.row_ids.begin(), rows.row_ids.end());
  const std::vector<std::int64_t> offsets(rows.offsets.begin(), rows.offsets.end());
  output.register_hook([this, module = std::string(module), used_by = std::string(used_by), row_ids,
                        offsets](const at::Tensor& gradient) {
    if (is_finite(gradient)) return;
    fail(fmt::format("backward: {} is the first module whose gradient is not finite: that of its input, the output of "
                     "{} ({})",
                     used_by, module, count_not_finite(gradient)),
         "forward was finite: look at the weights of that module, and lower learning_rate or add warmup_steps",
         gradient, row_ids, offsets);
  });
}

std::string FiniteObserver::own_parameters(std::string_view module) const {
  std::string text;
  for (const NamedParameter& parameter : model_.parameters()) {
    const std::string_view name = parameter.name;
    const bool is_own = name.starts_with(module) && name.substr(module.size()).find('.') == 0 &&
                        name.find('.', module.size() + 1) == name.npos;
    if (!is_own || is_finite(parameter.tensor)) continue;
    text += fmt::format(", and so is its parameter {} ({})", name, count_not_finite(parameter.tensor));
  }
  return text;
}

void FiniteObserver::fail(const std::string& what, std::string_view hint, const at::Tensor& values,
                          std::span<const std::int64_t> row_ids, std::span<const std::int64_t> offsets) const {
  const std::vector<std::int64_t> found = rows_not_finite(values, row_ids, offsets);
  throw Error(
      ExitCode::numeric,
      fmt::format("step {}, {}; in {}:{}", step_ + 1, what, counted(std::ssize(found), "row"), rows_.list(found)),
      std::string(hint));
}

}  // namespace bertdist
