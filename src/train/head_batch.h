#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "config/config.h"
#include "data/batch_plan.h"
#include "model/bert.h"
#include "train/evaluator.h"
#include "train/forward.h"
#include "train/run_schedule.h"
#include "train/trainer_state.h"

namespace bertdist {

// The trainings of several heads (pooler and classifier) on the same frozen features, side by side in one process:
// their matrix products are batched over the heads. Each head has its own configuration, and its steps are those that
// Trainer would do on one rank, to rounding: the same rows, masks, losses, gradients, clipping, rates and updates; the
// derivatives are written out instead of recorded.
class HeadBatch {
 public:
  // Whether HeadBatch can train what this model leaves trainable: all features below the head are constant, and pooler
  // and classifier are trained whole.
  static bool can_train(const BertForSequenceClassification& model);

  // One head for each pair of a configuration and the model that its training starts from, of which only pooler
  // and classifier are looked at, now; the model's own dropout where the configuration has none. All must have the same
  // global batch size. The two Forwards must keep their features and outlive this, as the configurations must.
  struct Start {
    const Config* config;
    const BertForSequenceClassification* model;
  };
  HeadBatch(const std::vector<Start>& starts, const Forward& train, const Forward& validation);

  struct Event {
    enum class Kind { evaluated, finished, failed };
    std::size_t head;
    Kind kind;
    std::optional<Evaluation> evaluation;  // finished: of the final weights
    std::string error;                     // only for failed
  };
  // Trains until something happens to a head, and says what; nothing once all heads are finished.
  std::optional<Event> advance(Progress& progress);
  // Ends a head's training where it is; the next event of it is that it is finished.
  void stop(std::size_t head);
  bool is_over(std::size_t head) const;  // all its steps are done

  const TrainerState& state(std::size_t head) const { return heads_[head].state; }
  double train_loss(std::size_t head) const;  // mean over its steps
  // Puts the final weights of a finished head (the best where load_best_model_at_end, otherwise the last) into a model.
  void copy_to(std::size_t head, BertForSequenceClassification& model) const;

 private:
  struct Head {
    const Config* config;
    double dropout;
    RunLength length;
    LearningRateSchedule schedule;
    TrainerState state;
    std::optional<TrainPlan> plan;
    std::int64_t planned_epoch = -1;
    at::Tensor best_values;   // float32 [num_elements]; undefined before the first evaluation
    at::Tensor final_values;  // the same, once finished
  };
  struct Step {
    std::vector<double> losses;
    std::vector<double> grad_norms;
    at::Tensor input, dropped;      // float32 [active, batch, hidden]: of the pooler, of the classifier
    at::Tensor d_pooled, d_logits;  // the loss's derivatives by the outputs of the two linear layers
  };

  std::span<const std::int64_t> rows_of_step(Head& head);
  Step train_step();
  static bool is_finite(const Step& step, std::size_t slot);
  void update(std::size_t slot, const Step& step);
  void finish_step(const Step& step);
  void log_train_loss(Head& head, double grad_norm);
  void keep_best(Head& head, std::size_t slot, const Evaluation& evaluation);
  void finish(std::size_t slot);
  void remove(const std::vector<std::size_t>& slots);
  Evaluation evaluate_head(const at::Tensor& values, const Config& config) const;

  // Views of [heads, num_elements] as the head's parameters; weights are transposed.
  at::Tensor pooler_weight(const at::Tensor& flat) const;      // [heads, hidden, hidden]
  at::Tensor classifier_weight(const at::Tensor& flat) const;  // [heads, hidden, num_labels]
  at::Tensor pooler_bias(const at::Tensor& flat) const;        // [heads, hidden]
  at::Tensor classifier_bias(const at::Tensor& flat) const;    // [heads, num_labels]

  const Forward& train_;
  const Forward& validation_;
  at::Tensor validation_features_;  // float32 [rows, hidden]
  std::int64_t hidden_;
  std::int64_t num_labels_;
  std::vector<Head> heads_;
  std::vector<std::size_t> active_;  // heads by slot: by row of the tensors below
  std::int64_t step_ = 0;            // steps that each active head has done
  at::Tensor values_;                // float32 [active, num_elements]: with weight decay first
  at::Tensor exp_avg_;
  at::Tensor exp_avg_sq_;
  std::deque<Event> events_;
};

}  // namespace bertdist
