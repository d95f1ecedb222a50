#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/bert.h"
#include "optim/linear_kernels.h"

namespace bertdist {

// A head's parameters in a flat buffer, in FlatParameters' order: the pooler's weight [hidden, hidden], the
// classifier's [num_labels, hidden], their biases.
struct HeadLayout {
  std::int64_t hidden;
  std::int64_t num_labels;

  static const std::vector<std::string>& names();  // in that order
  // The model's own, as they are named; throws Error(internal) where one is missing.
  static std::vector<at::Tensor> parameters(const BertForSequenceClassification& model);

  std::int64_t classifier_weight() const { return hidden * hidden; }
  std::int64_t pooler_bias() const { return (hidden + num_labels) * hidden; }
  std::int64_t classifier_bias() const { return pooler_bias() + hidden; }
  std::int64_t num_elements() const { return classifier_bias() + num_labels; }
};

// Whether a model leaves just a head to train: all features below it are constant, and pooler and classifier are
// trained whole.
bool trains_head_alone(const BertForSequenceClassification& model);

// The steps of a head on constant features: loss, derivatives and update of pooler, dropout and classifier, written out
// instead of recorded. To rounding what autograd, clip_grad_norm and AdamW do. Runs on the calling thread. Equal
// arguments give equal bits, whatever was computed before.
class HeadStep {
 public:
  explicit HeadStep(const HeadLayout& layout) : layout_(layout) {}

  struct Batch {
    at::Tensor features;  // float32 [batch, hidden]
    at::Tensor mask;      // float32 [batch, hidden]: of the dropout in front of the classifier
    at::Tensor labels;    // int64 [batch]
  };
  // Returns the batch's loss, summed and divided by `divisor`; the derivatives stay here for what follows. `values` is
  // float32 [num_elements].
  double forward_backward(const float* values, const Batch& batch, double label_smoothing_factor, double divisor);

  double grad_norm() const;
  void add_gradient(float* gradient) const;
  // Updates by scale times the gradient. Where the next call of forward_backward is for these values and
  // `next_features` (undefined: not known), half of its work is done on the way.
  void update(float* values, float* exp_avg, float* exp_avg_sq, float scale, AdamWStep step,
              const at::Tensor& next_features);

 private:
  struct Rows {
    at::Tensor features;  // as given
    at::Tensor input;     // float32 [padded, hidden]: features with rows of zeros
    at::Tensor output;    // float32 [padded, hidden]: the pooler's products, without its bias
    std::int64_t count = 0;
  };
  Rows padded(const at::Tensor& features) const;
  void pool(const float* values, const at::Tensor& mask);
  double classify(const float* values, const at::Tensor& labels, double label_smoothing_factor, double divisor);
  LinearBatch pooler_batch() const;
  LinearBatch classifier_batch() const;
  std::vector<float> bias_gradient(const at::Tensor& d_output) const;

  HeadLayout layout_;
  Rows rows_;
  Rows next_;
  at::Tensor pooled_;    // float32 [padded, hidden]
  at::Tensor dropped_;   // float32 [padded, hidden]
  at::Tensor d_pooled_;  // float32 [padded, hidden]: by the pooler's output before tanh
  at::Tensor d_logits_;  // float32 [padded, num_labels]
};

}  // namespace bertdist
