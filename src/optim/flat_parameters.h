#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bertdist {

struct TrainableParameter {
  std::string name;
  at::Tensor tensor;  // a leaf that requires a gradient, float32
};

// All trainable parameters in one buffer and all their gradients in another: one all-reduce, one clip and two fused
// optimiser calls serve the whole model. The parameters given become views of the buffer; whoever else holds them sees
// every update. Parameters with weight decay come first. The buffers are where the parameters are, all on one device.
class FlatParameters {
 public:
  explicit FlatParameters(std::vector<TrainableParameter> parameters);

  std::int64_t num_elements() const { return values_.numel(); }
  std::int64_t num_decayed_elements() const { return num_decayed_elements_; }

  const at::Tensor& values() const { return values_; }  // float32 [num_elements]
  // float32 [num_elements]. The parameters' own are views of it: clear them in place, AdamW::step does.
  at::Tensor gradients() const;
  // Gradients, and behind them one element for the loss and one for the ranks that want to stop: what the ranks sum in
  // one call. float32 [num_elements + 2]
  const at::Tensor& reduced() const { return reduced_; }

  struct Slice {
    std::string name;
    std::vector<std::int64_t> shape;
    std::int64_t offset;  // elements from the start of values()
    std::int64_t numel;
  };
  const std::vector<Slice>& slices() const { return slices_; }
  const std::vector<TrainableParameter>& parameters() const { return parameters_; }  // in the order of slices()
  // The part of a flat buffer of [num_elements] that belongs to one parameter, in the parameter's shape.
  static at::Tensor view(const at::Tensor& flat, const Slice& slice);

 private:
  std::vector<TrainableParameter> parameters_;
  std::vector<Slice> slices_;
  std::int64_t num_decayed_elements_ = 0;
  at::Tensor values_;
  at::Tensor reduced_;
};

// Hugging Face Trainer's rule: biases and the parameters of LayerNorm are not decayed.
bool has_weight_decay(std::string_view parameter_name);

}  // namespace bertdist
