#include "head_training.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "base/error.h"
#include "model_setup.h"
#include "report/run_log.h"
#include "torch_setup.h"
#include "train/head_batch.h"
#include "trial_failure.h"
#include "trial_training.h"

namespace bertdist {

namespace {

// What the features, the rows and the place of a trial depend on: all options but those of the head's training.
std::string family_key(Config config) {
  const Config defaults;
  config.output_dir.clear();
  config.classifier_dropout = defaults.classifier_dropout;
  config.per_device_train_batch_size = defaults.per_device_train_batch_size;
  config.global_batch_size = defaults.global_batch_size;
  config.gradient_accumulation_steps = defaults.gradient_accumulation_steps;
  config.num_train_epochs = defaults.num_train_epochs;
  config.max_steps = defaults.max_steps;
  config.learning_rate = defaults.learning_rate;
  config.lr_scheduler_type = defaults.lr_scheduler_type;
  config.warmup_steps = defaults.warmup_steps;
  config.warmup_ratio = defaults.warmup_ratio;
  config.weight_decay = defaults.weight_decay;
  config.adam_beta1 = defaults.adam_beta1;
  config.adam_beta2 = defaults.adam_beta2;
  config.adam_epsilon = defaults.adam_epsilon;
  config.max_grad_norm = defaults.max_grad_norm;
  config.label_smoothing_factor = defaults.label_smoothing_factor;
  config.early_stopping_patience = defaults.early_stopping_patience;
  // The seed draws the validation rows too, where there is no file of them.
  if (config.validation_split == 0) config.seed = defaults.seed;
  return to_toml(config);
}

bool may_leave_a_head(const Config& config) {
  using Kind = Config::Freeze::Kind;
  const Kind kind = config.freeze.kind;
  return !config.frozen_dropout &&
         (kind == Kind::base_except_pooler || kind == Kind::first_layers || kind == Kind::patterns);
}

// Records what a head did since it was last asked.
class HeadLog {
 public:
  HeadLog(const Trial& trial, const std::filesystem::path& sweep_folder)
      : log_(prepare_trial_folder(trial, sweep_folder)) {}

  void append_new(const TrainerState& state) {
    for (; num_logged_ < state.log_history.size(); ++num_logged_) log_.append(state.log_history[num_logged_]);
  }

 private:
  RunLog log_;
  std::size_t num_logged_ = 0;
};

// Collective. Null where the model does not leave a head alone to be trained, or its features cannot be kept.
std::unique_ptr<HeadFamily> prepare_family(const Job& job, const std::vector<const Trial*>& members) {
  const Config& config = members.front()->config;
  const Job first{config, job.communicator, job.launch, job.log, job.num_threads};
  ModelSource source = open_model_source(config);
  const TokenCaches caches = open_caches(prepare_caches(first, source, known_labels(config, source.config)));
  BertForSequenceClassification model = load_model(first, source.folder, caches.labels.names());
  apply_freezing(model, freeze_spec(config), config.frozen_dropout);
  if (!trains_head_alone(model)) return nullptr;
  auto family = std::make_unique<HeadFamily>(HeadFamily{.trials = members,
                                                        .source = std::move(source),
                                                        .label_names = caches.labels.names(),
                                                        .splits = select_rows(config, caches),
                                                        .model = std::move(model),
                                                        .train = {},
                                                        .validation = {}});
  const FrozenPassOptions frozen_pass = frozen_pass_options(first);
  family->train.emplace(family->model, *family->splits.train, frozen_pass, job.communicator, job.log);
  family->validation.emplace(family->model, *family->splits.validation, frozen_pass, job.communicator, job.log);
  return family->train->keeps_cls_features() && family->validation->keeps_cls_features() ? std::move(family) : nullptr;
}

}  // namespace

std::vector<std::unique_ptr<HeadFamily>> prepare_head_families(const Job& job,
                                                               const std::vector<const Trial*>& trials) {
  std::map<std::string, std::vector<const Trial*>> by_key;
  for (const Trial* trial : trials) {
    if (may_leave_a_head(trial->config)) by_key[family_key(trial->config)].push_back(trial);
  }
  std::vector<std::unique_ptr<HeadFamily>> families;
  for (const auto& [key, members] : by_key) {
    if (members.size() < 2) continue;
    std::unique_ptr<HeadFamily> family;
    Failure failure;
    try {
      family = without_trace(job, [&] { return prepare_family(job, members); });
    } catch (const std::exception& exception) {
      failure = failure_of(exception);
    }
    failure = failure_of_group(job.communicator, failure);
    if (ends_the_sweep(failure)) throw Error(static_cast<ExitCode>(failure.exit_code), failure.message);
    if (failure.exit_code != 0) {
      job.log.warn("what trial {} and {} others share cannot be prepared, so each is trained by itself: {}",
                   members.front()->index, members.size() - 1, failure.message);
    } else if (family) {
      families.push_back(std::move(family));
    }
  }
  return families;
}

std::vector<std::vector<const Trial*>> head_batches(const HeadFamily& family, const Communicator& communicator) {
  // Few enough that every process has work to the end, many enough that early stopping has curves to compare.
  constexpr std::int64_t kMostHeads = 8;
  const std::int64_t share = (std::ssize(family.trials) + communicator.world_size() - 1) / communicator.world_size();
  const std::int64_t most = std::clamp<std::int64_t>(share, 1, kMostHeads);

  // The longest first, so that no rank ends long after others.
  const auto order = [&](const Trial* trial) {
    const std::int64_t steps_per_epoch =
        num_steps_per_epoch(family.splits.train->size(), global_batch_size(trial->config, 1));
    return std::pair(-num_training_steps(trial->config, steps_per_epoch), trial->index);
  };
  std::vector<const Trial*> sorted = family.trials;
  std::sort(sorted.begin(), sorted.end(), [&](const Trial* a, const Trial* b) { return order(a) < order(b); });
  std::vector<std::vector<const Trial*>> batches;
  for (const Trial* trial : sorted) {
    if (batches.empty() || std::ssize(batches.back()) == most) batches.emplace_back();
    batches.back().push_back(trial);
  }
  return batches;
}

void train_heads(const Job& job, const HeadFamily& family, const std::vector<const Trial*>& trials,
                 const SweepSpec& spec, const SweepFolder& folder, ResultWriter& writer,
                 const std::function<void(const TrialResult&)>& record, const StopToken& stop) {
  const auto start_time = std::chrono::steady_clock::now();
  const auto load = [&](const Config& config) {
    const Log quiet(/*rank=*/1, /*world_size=*/1);
    return load_model({config, job.communicator, job.launch, quiet, job.num_threads}, family.source.folder,
                      family.label_names);
  };
  // First, so that the configuration of a trial that fails is there too.
  std::vector<std::unique_ptr<HeadLog>> logs;
  for (const Trial* trial : trials) logs.push_back(std::make_unique<HeadLog>(*trial, folder.path()));
  // A new classifier is drawn from the seed; pooler and all else are the same for all.
  std::map<std::int64_t, BertForSequenceClassification> by_seed;
  std::vector<HeadBatch::Start> starts;
  for (const Trial* trial : trials) {
    const bool is_familys = trial->config.seed == family.trials.front()->config.seed;
    if (!is_familys && !by_seed.contains(trial->config.seed)) by_seed.emplace(trial->config.seed, load(trial->config));
    starts.push_back({&trial->config, is_familys ? &family.model : &by_seed.at(trial->config.seed)});
  }
  HeadBatch heads(starts, *family.train, *family.validation);
  by_seed.clear();

  std::vector<std::int64_t> num_evaluations(trials.size());
  std::vector<bool> stopped(trials.size());
  const auto next_event = [&] {
    if (const auto signal = stop.signal()) {
      throw Error(
          ExitCode::preempted,
          fmt::format("stopped by {} while {} heads were trained together, which begin again", *signal, trials.size()));
    }
    return heads.advance(job.communicator.progress());
  };
  while (const std::optional<HeadBatch::Event> event = next_event()) {
    const Trial& trial = *trials[event->head];
    if (event->kind == HeadBatch::Event::Kind::failed) {
      record(failed_trial(trial, static_cast<int>(ExitCode::numeric), event->error));
      continue;
    }
    const std::optional<double> metric = metric_value(event->evaluation->metrics, spec.metric.name);
    if (event->kind == HeadBatch::Event::Kind::evaluated) {
      writer.append_evaluation(trial.index, ++num_evaluations[event->head], metric);
      if (!heads.is_over(event->head) && ends_early(spec, folder, trial.index)) {
        stopped[event->head] = true;
        heads.stop(event->head);
      }
      continue;
    }
    logs[event->head]->append_new(heads.state(event->head));
    const double runtime = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_time).count();
    const TrainResult train{.train_loss = heads.train_loss(event->head),
                            .train_runtime = runtime / static_cast<double>(trials.size()),
                            .state = heads.state(event->head)};
    const TrialResult result{.trial = trial.index,
                             .state = stopped[event->head] ? TrialResult::State::stopped : TrialResult::State::finished,
                             .metric = metric,
                             .details = trial_details(trial, train, *event->evaluation, /*world_size=*/1)};
    keep_model(trial, result, spec, folder, family.source.folder, train.state, [&](const auto& use) {
      BertForSequenceClassification model = load(trial.config);
      heads.copy_to(event->head, model);
      use(model);
    });
    record(result);
  }
}

}  // namespace bertdist
