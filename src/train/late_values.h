#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <optional>
#include <vector>

namespace bertdist {

// Numbers on their way from a device, which copies them when it has computed them. Nobody waits for that before wait().
class LateValues {
 public:
  explicit LateValues(const at::Tensor& values);  // float32 [count], of any device

  std::vector<float> wait() const;

 private:
  at::Tensor host_;
  std::optional<c10::Event> is_there_;  // of a device
};

}  // namespace bertdist
