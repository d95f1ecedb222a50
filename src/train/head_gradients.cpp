#include "train/head_gradients.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "train/head_step.h"

namespace bertdist {

Gradients head_step_gradients(const GradientSample& sample) {
  const c10::NoGradGuard no_grad;
  const BertConfig& config = sample.model.config();
  const std::vector<at::Tensor> parameters = HeadLayout::parameters(sample.model);
  std::vector<at::Tensor> flat;
  for (const at::Tensor& parameter : parameters) flat.push_back(parameter.flatten().to(at::kFloat));
  const at::Tensor values = at::cat(flat);
  const at::Tensor features = sample.model.cls_hidden(sample.input, sample.dropout).to(at::kFloat);
  const at::Tensor mask = keyed_dropout(at::ones_like(features), config.head_dropout_prob(), sample.dropout,
                                        DropoutSite::classifier(), sample.input.row_ids);

  HeadStep step({.hidden = config.hidden_size, .num_labels = config.num_labels()});
  step.forward_backward(values.data_ptr<float>(), {features, mask, sample.labels}, sample.label_smoothing_factor,
                        static_cast<double>(sample.labels.numel()));
  const at::Tensor gradient = at::zeros_like(values);
  step.add_gradient(gradient.data_ptr<float>());

  Gradients gradients;
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    gradients[HeadLayout::names()[i]] = gradient.narrow(0, offset, parameters[i].numel()).view(parameters[i].sizes());
    offset += parameters[i].numel();
  }
  return gradients;
}

}  // namespace bertdist
