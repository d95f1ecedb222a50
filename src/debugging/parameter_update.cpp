#include "debugging/parameter_update.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "report/table.h"

namespace bertdist {

namespace {

double norm_of(const at::Tensor& tensor) {
  return tensor.norm().item<double>();
}

}  // namespace

ParameterUpdate::ParameterUpdate(const FlatParameters& parameters) {
  const c10::NoGradGuard no_grad;
  values_ = parameters.values().clone();
  const at::Tensor gradients = parameters.gradients();
  for (const FlatParameters::Slice& slice : parameters.slices()) {
    gradient_norms_.push_back(norm_of(FlatParameters::view(gradients, slice)));
  }
}

std::string ParameterUpdate::table(const BertForSequenceClassification& model, const FlatParameters& parameters) const {
  const c10::NoGradGuard no_grad;
  TablePrinter table({{"parameter"},
                      {"shape"},
                      {"trainable"},
                      {"norm", Align::right},
                      {"gradient norm", Align::right},
                      {"update ratio", Align::right}});
  for (const NamedParameter& parameter : model.parameters()) {
    const std::string shape = fmt::format("[{}]", fmt::join(parameter.tensor.sizes(), ", "));
    if (!parameter.tensor.requires_grad()) {
      table.add_row({parameter.name, shape, "no", fmt::format("{:.4g}", norm_of(parameter.tensor)), "-", "-"});
      continue;
    }
    std::size_t index = 0;
    while (parameters.slices()[index].name != parameter.name) ++index;
    const at::Tensor before = FlatParameters::view(values_, parameters.slices()[index]);
    const double before_norm = norm_of(before);
    const double update = norm_of(parameter.tensor - before);
    table.add_row({parameter.name, shape, "yes", fmt::format("{:.4g}", before_norm),
                   fmt::format("{:.4g}", gradient_norms_[index]),
                   before_norm > 0 ? fmt::format("{:.2e}", update / before_norm) : "-"});
  }
  return table.to_string();
}

}  // namespace bertdist
