#include "train/trainer.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones_like.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "data/split.h"
#include "model/classification_loss.h"
#include "train/operator_threads.h"
#include "train/tensor_bytes.h"

namespace bertdist {

namespace {

std::vector<TrainableParameter> trainable_parameters(const BertForSequenceClassification& model) {
  std::vector<TrainableParameter> trainable;
  for (const NamedParameter& parameter : model.parameters()) {
    if (parameter.tensor.requires_grad()) trainable.push_back({parameter.name, parameter.tensor});
  }
  return trainable;
}

// A step takes about what the last one freed: what malloc has given back meanwhile the kernel would clear again.
void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);  // bytes, the largest that glibc takes
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  ::mallopt(M_TOP_PAD, 16 << 20);
}

std::int64_t ceil_div(std::int64_t dividend, std::int64_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

}  // namespace

Trainer::Trainer(const Config& config, BertForSequenceClassification& model, const Dataset& train,
                 const Dataset* validation, const FrozenPassOptions& frozen_pass, const CheckpointStore& checkpoints,
                 Communicator& communicator, const Log& log, const StopToken& stop, TrainerRole role,
                 Debugger* debugger)
    : config_(config),
      model_(model),
      train_(train),
      checkpoints_(checkpoints),
      communicator_(communicator),
      log_(log),
      stop_(stop),
      role_(role),
      debugger_(debugger),
      num_ranks_(num_ranks(config, communicator)),
      global_batch_size_(global_batch_size(config, num_ranks_)),
      steps_per_epoch_(num_steps_per_epoch(train.size(), global_batch_size_)),
      parameters_(trainable_parameters(model)),
      reducer_(parameters_, buffer_of(parameters_.reduced()), communicator,
               {.ddp_bucket_cap_mb = config.ddp_bucket_cap_mb,
                .overlap_grad_reduce = config.overlap_grad_reduce,
                .grad_reduce_in_bf16 = config.grad_reduce_in_bf16}),
      optimizer_(parameters_, {.adam_beta1 = config.adam_beta1,
                               .adam_beta2 = config.adam_beta2,
                               .adam_epsilon = config.adam_epsilon,
                               .weight_decay = config.weight_decay}),
      train_forward_(model, train, frozen_pass, communicator, log),
      identity_(
          identity_before_loading(config, num_ranks_, at::get_num_threads(), frozen_pass.dtype, model.is_on_device())),
      epoch_table_({{"step", Align::right, 7},
                    {"epoch", Align::right, 6},
                    {"train loss", Align::right, 10},
                    {"eval loss", Align::right, 10},
                    {"accuracy", Align::right, 9},
                    {"AUC", Align::right, 7}}) {
  if (model.is_on_device()) {
    device_step_.emplace(parameters_, reducer_, optimizer_, config.max_grad_norm);
  } else if (trains_head_alone(model) && train_forward_.keeps_cls_features()) {
    head_step_.emplace(HeadLayout{.hidden = model.config().hidden_size, .num_labels = model.config().num_labels()});
    every_rank_does_all_rows_ = every_rank_can_do_all_rows();
  } else {
    keep_freed_memory();
  }
  identity_.train_data = train.fingerprint();
  identity_.frozen_weights = frozen_weights();
  if (validation != nullptr) {
    identity_.validation_data = validation->fingerprint();
    validation_forward_.emplace(model, *validation, frozen_pass, communicator, log);
  }
  state_.max_steps = num_training_steps(config, steps_per_epoch_);
  if (overfits(config)) steps_per_epoch_ = std::min(steps_per_epoch_, *config.debug_overfit_batches);
  state_.num_train_epochs = config.num_train_epochs;
  state_.train_batch_size = global_batch_size_;
  schedule_ = learning_rate_schedule(config, state_.max_steps);
}

TrainResult Trainer::train() {
  begin();
  while (advance()) {
  }
  return finish();
}

void Trainer::begin() {
  announce();
  if (communicator_.rank() != 0) return;
  run_log_.emplace(checkpoints_.output_dir());
  if (role_ == TrainerRole::run) progress_.emplace(state_.global_step);
}

std::optional<Evaluation> Trainer::advance() {
  for (;;) {
    // Not before the evaluation of the same step has been returned.
    if (stop_requested_) stop_with_checkpoint();
    if (is_over()) return std::nullopt;
    const std::optional<StepResult> result = train_step(state_.global_step);
    ++state_.global_step;
    state_.epoch = static_cast<double>(state_.global_step) / static_cast<double>(steps_per_epoch_);
    if (result) report_progress(result->loss);

    std::optional<Evaluation> evaluation;
    if (length().is_log_due(config_, state_.global_step)) log_train_loss(*result);
    if (validation_forward_ && length().is_evaluation_due(config_, state_.global_step)) evaluation = run_evaluation();
    if (role_ == TrainerRole::run && length().is_save_due(config_, state_.global_step)) save_checkpoint();
    stop_requested_ = result && result->stop_requested;
    if (evaluation) return evaluation;
  }
}

TrainResult Trainer::finish() {
  if (progress_) progress_->clear();
  load_best_model();

  const double runtime = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double train_loss = state_.total_loss / static_cast<double>(std::max<std::int64_t>(1, state_.global_step));
  append_log(
      {{"epoch", state_.epoch},
       {"step", state_.global_step},
       {"train_loss", train_loss},
       {"train_runtime", runtime},
       {"train_samples_per_second", static_cast<double>(num_rows_trained_) / std::max(runtime, 1e-9)},
       {"train_steps_per_second", static_cast<double>(state_.global_step - first_step_) / std::max(runtime, 1e-9)}});
  return {.train_loss = train_loss, .train_runtime = runtime, .state = state_};
}

const TrainPlan& Trainer::plan_of_epoch(std::int64_t epoch) {
  if (overfits(config_)) epoch = 0;  // the same batches again and again
  if (epoch != planned_epoch_) {
    const TrainPlan::Options options{.seed = static_cast<std::uint64_t>(config_.seed),
                                     .epoch = epoch,
                                     .global_batch_size = global_batch_size_,
                                     .world_size = num_ranks_};
    plan_.emplace(options, all_rows(train_.size()), train_.lengths());
    planned_epoch_ = epoch;
  }
  return *plan_;
}

// Floating-point operations of a head's step.
std::int64_t Trainer::head_step_size(std::int64_t num_rows) const {
  return 6 * num_rows * parameters_.num_elements();
}

// A head's step takes microseconds: to wake threads for each of its operators costs more than they save, and far more
// where other programs use the cores too.
int Trainer::threads_of_step(std::int64_t num_rows) const {
  constexpr std::int64_t kSmallStep = 100'000'000;
  return train_forward_.keeps_cls_features() && head_step_size(num_rows) < kSmallStep ? 1 : identity_.num_threads;
}

// A head's gradient need not be made at all where nobody waits for it. So each rank updates by all rows of a step that
// is smaller still, whose features all have: that takes less time than to sum the parameters' gradients would. Unlike
// processors would sum them in different orders. Collective.
bool Trainer::every_rank_can_do_all_rows() const {
  constexpr std::int64_t kSmallerThanASum = 30'000'000;
  if (num_ranks_ == 1) return true;
  if (head_step_size(global_batch_size_) >= kSmallerThanASum || config_.grad_reduce_in_bf16) return false;
  const std::string vectors = at::get_cpu_capability();
  const std::vector<Bytes> all = communicator_.all_gather(std::as_bytes(std::span(vectors)), "vector instructions");
  return std::all_of(all.begin(), all.end(), [&](const Bytes& one) { return one == all.front(); });
}

// One, or all where they are simulated.
std::vector<int> Trainer::ranks_of_this_process() const {
  const bool is_simulation = num_ranks_ != communicator_.world_size();
  std::vector<int> ranks(is_simulation ? static_cast<std::size_t>(num_ranks_) : 1, communicator_.rank());
  if (is_simulation) std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

// Returns the last step whose result is known: this one, but on a device, unless its result is due, the one before.
std::optional<StepResult> Trainer::train_step(std::int64_t step) {
  if (debugger_) debugger_->begin_step(step);
  const Observing observing(model_, debugger_);
  const auto global_rows = plan_of_epoch(step / steps_per_epoch_).global_rows(step % steps_per_epoch_);

  // As many on each rank, whatever its share is: the bits of a norm depend on it.
  const OperatorThreads threads(threads_of_step(ceil_div(std::ssize(global_rows), num_ranks_)));
  communicator_.progress().set_step(step + 1);
  communicator_.progress().enter("forward and backward");
  std::optional<StepResult> result;
  if (device_step_) {
    result = step_on_device(step);
  } else {
    result = every_rank_does_all_rows_ ? replicated_head_step(step, global_rows) : data_parallel_step(step);
    account_for(*result);
  }
  if (debugger_) {
    drain_device();
    debugger_->end_step();
  }
  num_rows_trained_ += std::ssize(global_rows);
  for (const std::int64_t index : global_rows) {
    state_.num_input_tokens_seen += train_.lengths()[static_cast<std::size_t>(index)];
  }
  return result;
}

void Trainer::account_for(const StepResult& result) {
  state_.loss_since_log += result.loss;
  ++state_.steps_since_log;
  state_.total_loss += result.loss;
}

std::vector<std::vector<std::int64_t>> Trainer::micro_batches(std::int64_t step, int rank) {
  const auto rows = plan_of_epoch(step / steps_per_epoch_).rows(step % steps_per_epoch_, rank);
  const std::int64_t size = ceil_div(std::max<std::int64_t>(1, std::ssize(rows)), config_.gradient_accumulation_steps);
  std::vector<std::vector<std::int64_t>> batches;
  for (std::int64_t begin = 0; begin < std::ssize(rows); begin += size) {
    batches.emplace_back(rows.begin() + begin, rows.begin() + std::min(begin + size, std::ssize(rows)));
  }
  return batches;
}

StepResult Trainer::data_parallel_step(std::int64_t step) {
  const std::int64_t global_count =
      std::ssize(plan_of_epoch(step / steps_per_epoch_).global_rows(step % steps_per_epoch_));
  const std::span reduced(parameters_.reduced().mutable_data_ptr<float>(),
                          static_cast<std::size_t>(parameters_.reduced().numel()));
  float& loss = reduced[reduced.size() - 2];
  float& num_ranks_to_stop = reduced[reduced.size() - 1];
  const std::vector<int> ranks = ranks_of_this_process();
  std::vector<std::int64_t> rows;
  RankSum sum(config_.grad_reduce_in_bf16 ? parameters_.num_decayed_elements() : 0);
  for (const int rank : ranks) {
    double local_loss = 0;
    const std::vector<std::vector<std::int64_t>> batches = micro_batches(step, rank);
    for (const std::vector<std::int64_t>& batch : batches) {
      if (&batch == &batches.back()) reducer_.begin();
      local_loss += forward_backward(batch, global_count, step);
      rows.insert(rows.end(), batch.begin(), batch.end());
      communicator_.progress().advance();
    }
    enter(StepPhase::reduce);
    loss = static_cast<float>(local_loss);
    if (ranks.size() > 1) sum.add(parameters_.reduced());
  }
  if (ranks.size() > 1) sum.finish(parameters_.reduced());

  enter(StepPhase::reduce);
  num_ranks_to_stop = stop_.signal() ? 1 : 0;
  reducer_.finish();
  enter(StepPhase::optimizer);
  const StepResult result{.step = step,
                          .loss = loss,
                          .grad_norm = grad_norm(parameters_),
                          .learning_rate = schedule_.at(step),
                          .stop_requested = num_ranks_to_stop > 0};
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) fail_not_finite(rows, result);
  if (debugger_) debugger_->before_update(step, parameters_);
  optimizer_.step(result.learning_rate, clip_factor(result.grad_norm, config_.max_grad_norm));
  if (debugger_) debugger_->after_update(step, parameters_);
  return result;
}

bool Trainer::any_rank_stops() {
  float stops = stop_.signal() ? 1 : 0;
  if (communicator_.world_size() > 1) {
    communicator_.all_reduce(buffer_of(std::span(&stops, 1)), ReduceOp::max, "stop requests");
  }
  return stops > 0;
}

StepResult Trainer::replicated_head_step(std::int64_t step, std::span<const std::int64_t> rows) {
  enter(StepPhase::data);
  const at::Tensor features = next_head_features_.defined() ? next_head_features_ : train_forward_.cls_features(rows);
  const StepResult result{.step = step,
                          .loss = head_forward_backward(rows, features, std::ssize(rows), step),
                          .grad_norm = head_step_->grad_norm(),
                          .learning_rate = schedule_.at(step),
                          .stop_requested = any_rank_stops()};
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    const bool is_simulation = num_ranks_ != communicator_.world_size();
    fail_not_finite(is_simulation ? rows : plan_->rows(step % steps_per_epoch_, communicator_.rank()), result);
  }

  if (debugger_ && debugger_->shows_parameters_of(step)) {
    head_step_->add_gradient(parameters_.gradients().data_ptr<float>());
    debugger_->before_update(step, parameters_);
    parameters_.gradients().zero_();
  }
  enter(StepPhase::data);
  const std::int64_t next = (step + 1) % steps_per_epoch_;  // 0: of the next epoch, which is not planned yet
  next_head_features_ = next == 0 ? at::Tensor() : train_forward_.cls_features(plan_->global_rows(next));
  enter(StepPhase::optimizer);
  head_step_->update(parameters_.values().data_ptr<float>(), optimizer_.exp_avg().data_ptr<float>(),
                     optimizer_.exp_avg_sq().data_ptr<float>(), clip_factor(result.grad_norm, config_.max_grad_norm),
                     optimizer_.begin_step(result.learning_rate), next_head_features_);
  if (debugger_) debugger_->after_update(step, parameters_);
  return result;
}

std::optional<Dropout> Trainer::dropout_of(std::int64_t step) const {
  if (overfits(config_)) return std::nullopt;
  return Dropout{.seed = static_cast<std::uint64_t>(config_.seed), .step = static_cast<std::uint64_t>(step)};
}

double Trainer::forward_backward(std::span<const std::int64_t> indices, std::int64_t global_count, std::int64_t step) {
  enter(StepPhase::data);
  if (head_step_) {
    const double loss = head_forward_backward(indices, train_forward_.cls_features(indices), global_count, step);
    head_step_->add_gradient(parameters_.gradients().data_ptr<float>());
    return loss;
  }
  return recorded_backward(indices, global_count, step).item<double>();
}

at::Tensor Trainer::recorded_backward(std::span<const std::int64_t> indices, std::int64_t global_count,
                                      std::int64_t step) {
  const ForwardInput input = train_forward_.input(indices);
  const at::Tensor labels = train_.labels(indices);
  check_batch(indices, input, labels);
  enter(StepPhase::forward);
  at::Tensor loss = classification_loss(train_forward_.logits(input, dropout_of(step)), labels,
                                        config_.label_smoothing_factor, static_cast<double>(global_count));
  enter(StepPhase::backward);
  loss.backward();
  check_gradients(step, indices);
  return loss;
}

double Trainer::head_forward_backward(std::span<const std::int64_t> indices, const at::Tensor& features,
                                      std::int64_t global_count, std::int64_t step) {
  at::Tensor mask = at::ones_like(features);
  if (const auto dropout = dropout_of(step)) {
    mask = keyed_dropout(mask, model_.config().head_dropout_prob(), *dropout, DropoutSite::classifier(),
                         train_.rows(indices));
  }
  const at::Tensor labels = train_.labels(indices);
  check_head_batch(step, indices, features, labels);
  enter(StepPhase::forward_backward);
  return head_step_->forward_backward(parameters_.values().data_ptr<float>(), {features, mask, labels},
                                      config_.label_smoothing_factor, static_cast<double>(global_count));
}

void Trainer::report_progress(double loss) {
  if (!progress_) return;
  progress_->update({.epoch = ceil_div(state_.global_step, steps_per_epoch_),
                     .num_epochs = ceil_div(state_.max_steps, steps_per_epoch_),
                     .step = state_.global_step,
                     .num_steps = state_.max_steps,
                     .loss = loss,
                     .num_tokens = state_.num_input_tokens_seen - first_tokens_});
}

bool Trainer::is_over() const {
  const bool out_of_patience =
      config_.early_stopping_patience && state_.evaluations_without_progress >= *config_.early_stopping_patience;
  return state_.global_step >= state_.max_steps || out_of_patience;
}

std::int64_t Trainer::num_evaluations() const {
  return std::count_if(state_.log_history.begin(), state_.log_history.end(),
                       [](const auto& entry) { return entry.contains("eval_loss"); });
}

}  // namespace bertdist
