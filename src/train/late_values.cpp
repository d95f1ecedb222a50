#include "train/late_values.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace bertdist {

LateValues::LateValues(const at::Tensor& values) {
  const c10::NoGradGuard no_grad;
  const at::Device device = values.device();
  host_ = at::empty(values.sizes(), at::TensorOptions(at::kFloat).pinned_memory(!device.is_cpu()));
  host_.copy_(values, /*non_blocking=*/true);
  if (device.is_cpu()) return;
  is_there_.emplace(device.type());
  is_there_->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

std::vector<float> LateValues::wait() const {
  if (is_there_) is_there_->synchronize();
  const float* const values = host_.const_data_ptr<float>();
  return {values, values + host_.numel()};
}

}  // namespace bertdist
