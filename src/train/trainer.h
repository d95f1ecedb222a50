#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/stop_token.h"
#include "comm/communicator.h"
#include "config/config.h"
#include "data/batch_plan.h"
#include "debugging/debugger.h"
#include "model/bert.h"
#include "optim/adamw.h"
#include "optim/lr_scheduler.h"
#include "report/progress_line.h"
#include "report/run_log.h"
#include "report/table.h"
#include "train/checkpoint.h"
#include "train/checkpoint_writer.h"
#include "train/device_step.h"
#include "train/evaluator.h"
#include "train/forward.h"
#include "train/gradient_reducer.h"
#include "train/head_step.h"
#include "train/rank_sum.h"
#include "train/run_schedule.h"
#include "train/step_result.h"

namespace bertdist {

struct TrainResult {
  double train_loss = 0;     // mean over the steps
  double train_runtime = 0;  // seconds of this process, evaluations and checkpoints included
  TrainerState state;        // at the end; log_history is kept by rank 0 and the others alike
};

struct OverfitResult {
  std::int64_t num_steps;
  double loss;  // the mean over the batches, in the last pass
};

// A run of its own shows its progress and writes checkpoints. A trial of a sweep, one of many, is silent, keeps its
// best weights in memory, and writes one checkpoint, with those in it, where a signal stops it. A replay only computes.
enum class TrainerRole { run, trial, replay };

// Data-parallel fine-tuning. Every rank makes one and calls train(); rank 0 alone writes to the output folder and
// speaks. After train() the model holds the best weights (load_best_model_at_end) or the last ones.
class Trainer {
 public:
  // Collective. `validation` may be null, and `debugger` is but in debug mode. All must outlive the trainer; frozen
  // parameters are frozen already.
  Trainer(const Config& config, BertForSequenceClassification& model, const Dataset& train, const Dataset* validation,
          const FrozenPassOptions& frozen_pass, const CheckpointStore& checkpoints, Communicator& communicator,
          const Log& log, const StopToken& stop, TrainerRole role = TrainerRole::run, Debugger* debugger = nullptr);

  // Collective, once, before train(). Checks that all ranks are about to do the same, and goes on from the checkpoint
  // that the configuration names, if it names one. Returns the step that it goes on from, 0 at the beginning. Writes
  // nothing. Throws Error(communication) where ranks differ, and Error(configuration) or Error(data) where going on
  // would be another run.
  std::int64_t start();
  // Throws Error(preempted) once any rank was asked to stop: all ranks end the same step, and a checkpoint of it is
  // saved.
  TrainResult train();

  // The parts of train(), for who decides after each evaluation whether to go on: begin(), then advance() as often as
  // wanted, then finish(). advance() trains up to the next evaluation and returns it, or to the end and returns
  // nothing.
  void begin();
  std::optional<Evaluation> advance();
  bool is_over() const;                  // all steps are done, or early_stopping_patience is at its end
  std::int64_t num_evaluations() const;  // so far, those before the checkpoint that this one goes on from among them
  TrainResult finish();

  // Instead of train(): the steps up to `last` of this run, from 1, and nothing else; returns what the last one was.
  StepResult replay(std::int64_t last);
  // Instead of train(), with debug_overfit_batches: goes through these batches until their mean loss is below `target`,
  // or the steps are at their end.
  OverfitResult overfit(double target);
  // The rows that a rank has in this step, from 0, in the batches in which it adds up their gradients. As indices of
  // the training split.
  std::vector<std::vector<std::int64_t>> micro_batches(std::int64_t step, int rank);

  const TrainerState& state() const { return state_; }
  const RunIdentity& identity() const { return identity_; }
  const std::optional<Forward>& validation_forward() const { return validation_forward_; }

 private:
  struct Restored {
    std::filesystem::path folder;
    TrainerState state;
  };

  void announce() const;
  void resume();
  std::optional<Restored> restore();
  TrainerState restore_from(const std::filesystem::path& checkpoint, const RunIdentity& saved);
  bool has_best_in_memory() const;
  void find_best_checkpoint(const std::filesystem::path& resumed_from);
  std::string frozen_weights() const;
  void check_ranks_agree() const;
  const TrainPlan& plan_of_epoch(std::int64_t epoch);

  // Debug mode's; the others do nothing without a debugger.
  void drain_device();
  void enter(StepPhase phase);
  void check_batch(std::span<const std::int64_t> indices, const ForwardInput& input, const at::Tensor& labels);
  void check_head_batch(std::int64_t step, std::span<const std::int64_t> indices, const at::Tensor& features,
                        const at::Tensor& labels);
  void check_frozen_output(const at::Tensor& output, std::span<const std::int64_t> indices);
  void check_gradients(std::int64_t step, std::span<const std::int64_t> indices);
  void find_anomaly(std::int64_t step, std::int64_t global_count);
  at::Tensor loss_of(std::span<const std::int64_t> indices, std::int64_t global_count, std::int64_t step) const;

  std::vector<int> ranks_of_this_process() const;
  std::int64_t head_step_size(std::int64_t num_rows) const;
  int threads_of_step(std::int64_t num_rows) const;
  bool every_rank_can_do_all_rows() const;
  std::optional<Dropout> dropout_of(std::int64_t step) const;
  std::optional<StepResult> train_step(std::int64_t step);
  StepResult data_parallel_step(std::int64_t step);
  std::optional<StepResult> step_on_device(std::int64_t step);
  bool is_result_due(std::int64_t num_steps) const;
  std::optional<StepResult> wait_for_result();
  std::optional<StepResult> take_result_from_device();
  void account_for(const StepResult& result);
  StepResult replicated_head_step(std::int64_t step, std::span<const std::int64_t> rows);
  bool any_rank_stops();
  double forward_backward(std::span<const std::int64_t> indices, std::int64_t global_count, std::int64_t step);
  at::Tensor recorded_backward(std::span<const std::int64_t> indices, std::int64_t global_count, std::int64_t step);
  double head_forward_backward(std::span<const std::int64_t> indices, const at::Tensor& features,
                               std::int64_t global_count, std::int64_t step);
  [[noreturn]] void fail_not_finite(std::span<const std::int64_t> indices, const StepResult& result);

  RunLength length() const { return {steps_per_epoch_, state_.max_steps}; }
  void report_progress(double loss);
  void log_train_loss(const StepResult& result);
  Evaluation run_evaluation();
  void keep_best(std::optional<double> metric);
  void print_evaluation(const Evaluation& evaluation);
  void save_checkpoint();
  [[noreturn]] void stop_with_checkpoint();
  void append_log(nlohmann::ordered_json entry);
  void load_best_model();

  // Before the features are computed, which is part of the training's time.
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const Config& config_;
  BertForSequenceClassification& model_;
  const Dataset& train_;
  const CheckpointStore& checkpoints_;
  Communicator& communicator_;
  const Log& log_;
  const StopToken& stop_;
  const TrainerRole role_;
  Debugger* const debugger_;  // null but in debug mode

  const int num_ranks_;  // the communicator's, or those simulated
  std::int64_t global_batch_size_;
  std::int64_t steps_per_epoch_;
  LearningRateSchedule schedule_;
  FlatParameters parameters_;
  GradientReducer reducer_;
  AdamW optimizer_;
  Forward train_forward_;
  std::optional<Forward> validation_forward_;
  std::optional<HeadStep> head_step_;      // where nothing but a head is trained, on the CPU
  bool every_rank_does_all_rows_ = false;  // of a head's step
  std::optional<DeviceStep> device_step_;
  at::Tensor next_head_features_;  // of the coming step's rows, where they are known
  RunIdentity identity_;
  TrainerState state_;

  std::int64_t planned_epoch_ = -1;
  std::optional<TrainPlan> plan_;
  std::optional<double> last_train_loss_;
  std::optional<ProgressLine> progress_;
  std::optional<RunLog> run_log_;
  TablePrinter epoch_table_;
  bool table_started_ = false;
  bool stop_requested_ = false;  // on any rank, during the last step
  at::Tensor best_values_;       // a trial's: float32 [num_elements], undefined before the first evaluation
  std::int64_t first_step_ = 0;  // done before, by the run that this one resumes
  std::int64_t first_tokens_ = 0;
  std::int64_t num_rows_trained_ = 0;  // by this process, each row once an epoch
  CheckpointWriter checkpoint_writer_{checkpoints_, model_, parameters_, communicator_.progress()};  // rank 0's
};

// The value of a metric by its name in Config::metric_for_best_model; nothing where it is undefined.
std::optional<double> metric_value(const ClassificationMetrics& metrics, std::string_view name);

}  // namespace bertdist
