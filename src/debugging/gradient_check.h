#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/bert.h"

namespace bertdist {

// A batch through a narrow copy of a model, in float64: as many layers under the same names, the same activation,
// dropout and loss, but a hidden size of 16, random weights and random tokens. The caller freezes what the run does.
struct GradientSample {
  BertForSequenceClassification model;
  BertInput input;
  at::Tensor labels;  // int64 [batch]
  Dropout dropout;
  double label_smoothing_factor;

  at::Tensor loss() const;  // a scalar
};
GradientSample make_gradient_sample(const BertConfig& config, double label_smoothing_factor, std::uint64_t seed);

// Of the trained parameters, by their names.
using Gradients = std::map<std::string, at::Tensor>;
Gradients autograd_gradients(const GradientSample& sample);
// The same as a training has them: float32, of what is written out for it. Added to gradients that are there.
Gradients training_gradients(const GradientSample& sample);

// How the loss changes along a random direction in one parameter.
struct GradientComparison {
  std::string parameter;
  double by_gradient;
  double by_differences;
  bool agrees;

  double relative_difference() const;
};

// Compares with central differences of the sample's loss, in the model's order. They agree where they differ by
// `tolerance` of the larger one at most, or by a hundredth of `tolerance`. The model is as it was afterwards.
std::vector<GradientComparison> compare_with_differences(const GradientSample& sample, const Gradients& gradients,
                                                         double tolerance);

// What the user is told of them in a table. Throws Error(gradient) where one does not agree; it names the module
// nearest to the loss, because a wrong gradient spoils those of all modules before it.
std::string require_agreement(const std::vector<GradientComparison>& comparisons);

}  // namespace bertdist
