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
#include "train/head_step.h"
#include "train/run_schedule.h"
#include "train/trainer_state.h"

namespace bertdist {

// The trainings of several heads (pooler and classifier) on the same frozen features, in turns from evaluation to
// evaluation: a head's weights and moments stay in the processor's cache for a whole turn. Each head has its own
// configuration, and its steps are those that Trainer would do on one rank, to rounding: the same rows, masks, losses,
// gradients, clipping, rates and updates.
class HeadBatch {
 public:
  // One head for each pair of a configuration and the model that its training starts from, of which only pooler
  // and classifier are looked at, now; the model's own dropout where the configuration has none. Each model must be one
  // that trains_head_alone. The two Forwards must keep their features and outlive this, as the configurations must.
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
    const Config* config = nullptr;
    double dropout = 0;
    RunLength length;
    LearningRateSchedule schedule;
    TrainerState state;
    at::Tensor values, exp_avg, exp_avg_sq;  // float32 [num_elements]
    std::optional<TrainPlan> plan;
    std::int64_t planned_epoch = -1;
    at::Tensor best_values;   // float32 [num_elements]; undefined before the first evaluation
    at::Tensor final_values;  // the same, once finished
  };

  at::Tensor features_of_step(Head& head, std::int64_t step);
  HeadStep::Batch batch_of_step(Head& head, std::int64_t step, const at::Tensor& features);
  std::span<const std::int64_t> rows_of_step(Head& head, std::int64_t step);
  void train_turn(std::size_t index, Progress& progress);
  bool report(std::size_t index, double loss, double grad_norm);
  void log_train_loss(Head& head, double grad_norm);
  void keep_best(Head& head, const Evaluation& evaluation);
  void finish(std::size_t index);
  Evaluation evaluate_head(const at::Tensor& values, const Config& config) const;
  // Views of a flat head's weights: [out, in].
  at::Tensor pooler_weight(const at::Tensor& values) const;
  at::Tensor classifier_weight(const at::Tensor& values) const;

  const Forward& train_;
  const Forward& validation_;
  at::Tensor validation_features_;  // float32 [rows, hidden]
  HeadLayout layout_;
  std::vector<Head> heads_;
  std::deque<std::size_t> turns_;  // heads that are not finished, the next one first
  std::deque<Event> events_;
};

}  // namespace bertdist
