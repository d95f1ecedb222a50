#include "optim/flat_parameters.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace bertdist {

bool has_weight_decay(std::string_view parameter_name) {
  return !parameter_name.ends_with("bias") && parameter_name.find("LayerNorm") == std::string_view::npos;
}

FlatParameters::FlatParameters(std::vector<TrainableParameter> parameters) : parameters_(std::move(parameters)) {
  const at::NoGradGuard no_grad;
  std::stable_partition(parameters_.begin(), parameters_.end(),
                        [](const TrainableParameter& parameter) { return has_weight_decay(parameter.name); });
  std::int64_t offset = 0;
  for (const TrainableParameter& parameter : parameters_) {
    slices_.push_back({parameter.name, parameter.tensor.sizes().vec(), offset, parameter.tensor.numel()});
    offset += parameter.tensor.numel();
    if (has_weight_decay(parameter.name)) num_decayed_elements_ = offset;
  }
  const auto options =
      at::TensorOptions(at::kFloat).device(parameters_.empty() ? at::kCPU : parameters_.front().tensor.device());
  values_ = at::empty({offset}, options);
  reduced_ = at::zeros({offset + 2}, options);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& tensor = parameters_[i].tensor;
    at::Tensor value = view(values_, slices_[i]);
    value.copy_(tensor);
    tensor.set_data(value);
    tensor.mutable_grad() = view(reduced_, slices_[i]);
  }
}

at::Tensor FlatParameters::gradients() const {
  return reduced_.narrow(0, 0, num_elements());
}

at::Tensor FlatParameters::view(const at::Tensor& flat, const Slice& slice) {
  return flat.narrow(0, slice.offset, slice.numel).view(slice.shape);
}

}  // namespace bertdist
