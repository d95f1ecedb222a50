#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/bert.h"
#include "optim/flat_parameters.h"

namespace bertdist {

// What one optimiser step does to each parameter of a model.
class ParameterUpdate {
 public:
  // The step's gradients are in `parameters`, and its weights are not updated yet. Keeps a copy of them.
  explicit ParameterUpdate(const FlatParameters& parameters);

  // Once the weights are updated: a table of name, shape, whether it is trained, and of what is the norm of the weights
  // before the step, the norm of the gradient before it is clipped, and |update| / |weight|. All parameters of the
  // model, in its order.
  std::string table(const BertForSequenceClassification& model, const FlatParameters& parameters) const;

 private:
  at::Tensor values_;  // float32 [num_elements]
  std::vector<double> gradient_norms_;
};

}  // namespace bertdist
