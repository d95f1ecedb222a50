#include "trial_training.h"

#include <fmt/format.h>

#include <span>

#include "base/atomic_file.h"
#include "model_setup.h"
#include "splits.h"
#include "sweep/trial_table.h"
#include "torch_setup.h"

namespace bertdist {

namespace fs = std::filesystem;

fs::path prepare_trial_folder(const Trial& trial, const fs::path& sweep_folder) {
  fs::path folder = trial_folder(sweep_folder, trial.index);
  make_directories(folder);
  write_file_atomically(folder / "config.toml", to_toml(trial.config));
  return folder;
}

bool ends_early(const SweepSpec& spec, const SweepFolder& folder, std::int64_t trial) {
  if (spec.early_terminate.type == SweepSpec::EarlyTerminate::Type::none) return false;
  return should_stop(spec, read_results(folder.path()).curves, trial);
}

nlohmann::ordered_json trial_details(const Trial& trial, const TrainResult& train, const Evaluation& evaluation,
                                     int world_size) {
  nlohmann::ordered_json details = {{"parameters", to_json(trial.parameters)}};
  details.update(evaluation.to_json("eval_"));
  details["epoch"] = train.state.epoch;
  details["global_step"] = train.state.global_step;
  details["train_loss"] = train.train_loss;
  details["train_runtime"] = train.train_runtime;
  details["world_size"] = world_size;
  return details;
}

TrialResult failed_trial(const Trial& trial, int exit_code, const std::string& error) {
  return {.trial = trial.index,
          .state = TrialResult::State::failed,
          .metric = {},
          .details = {{"parameters", to_json(trial.parameters)}, {"error", error}, {"exit_code", exit_code}}};
}

void keep_model(const Trial& trial, const TrialResult& result, const SweepSpec& spec, const SweepFolder& folder,
                const fs::path& tokenizer_folder, const TrainerState& state, const WithModel& with_model) {
  const auto save = [&](const fs::path& target) {
    with_model([&](const BertForSequenceClassification& model) {
      CheckpointStore(target, tokenizer_folder, to_toml(trial.config)).save_final_model(model, state);
    });
  };
  if (spec.save_trials == SweepSpec::SaveTrials::all) {
    AtomicDirectory directory(trial_folder(folder.path(), trial.index) / "model");
    save(directory.temporary_path());
    directory.commit();
  }
  if (spec.save_trials != SweepSpec::SaveTrials::none) folder.offer_best(spec.metric, result, save);
}

namespace {

bool report_evaluation(const Job& job, const Trial& trial, std::int64_t evaluation_number, const Evaluation& evaluation,
                       const SweepSpec& spec, const SweepFolder& folder, ResultWriter* writer) {
  std::int64_t stop = 0;
  if (writer != nullptr) {
    writer->append_evaluation(trial.index, evaluation_number, metric_value(evaluation.metrics, spec.metric.name));
    stop = ends_early(spec, folder, trial.index) ? 1 : 0;
  }
  job.communicator.broadcast(std::as_writable_bytes(std::span(&stop, 1)), 0, "whether the trial ends here");
  return stop != 0;
}

// Collective. The trial's configuration, with the checkpoint that a start before this one left, if one did.
Config config_to_go_on(const Job& job, const Trial& trial, const CheckpointStore& checkpoints) {
  std::int64_t goes_on = job.communicator.rank() == 0 && !checkpoints.newest_first().empty() ? 1 : 0;
  job.communicator.broadcast(std::as_writable_bytes(std::span(&goes_on, 1)), 0, "whether the trial goes on");
  Config config = trial.config;
  if (goes_on != 0) config.resume_from_checkpoint = "latest";
  return config;
}

void tell_start(const Trial& trial, std::int64_t first_step) {
  if (first_step == 0) return;
  fmt::print("trial {} goes on from step {}\n", trial.index, first_step);
  std::fflush(stdout);
}

}  // namespace

void remove_trial_checkpoints(const Trial& trial, const SweepFolder& folder) {
  const CheckpointStore checkpoints(trial_folder(folder.path(), trial.index), {}, {});
  checkpoints.remove_after(-1);
  checkpoints.remove_unfinished();
}

TrialResult train_trial(const Job& job, const Trial& trial, const SweepSpec& spec, const SweepFolder& folder,
                        ResultWriter* writer, const StopToken& stop) {
  const Config& config = trial.config;
  // First, so that the configuration of a trial that fails is there too.
  if (writer != nullptr) prepare_trial_folder(trial, folder.path());
  const ModelSource source = open_model_source(config);
  check_freezing(source.config, freeze_spec(config));
  const TokenCaches caches = open_caches(prepare_caches(job, source, known_labels(config, source.config)));
  const Splits splits = select_rows(config, caches);
  warn_of_missing_classes(job, splits, std::ssize(caches.labels.names()));
  BertForSequenceClassification model = load_model(job, source.folder, caches.labels.names());
  apply_freezing(model, freeze_spec(config), config.frozen_dropout);

  const CheckpointStore checkpoints(trial_folder(folder.path(), trial.index), source.folder, to_toml(config));
  const Config trained = config_to_go_on(job, trial, checkpoints);
  Trainer trainer(trained, model, *splits.train, &*splits.validation, frozen_pass_options(job), checkpoints,
                  job.communicator, job.log, stop, TrainerRole::trial);
  const std::int64_t first_step = trainer.start();
  if (writer != nullptr) tell_start(trial, first_step);
  trainer.begin();
  bool stopped = false;
  while (const std::optional<Evaluation> evaluation = trainer.advance()) {
    const bool ends = report_evaluation(job, trial, trainer.num_evaluations(), *evaluation, spec, folder, writer);
    stopped = ends && !trainer.is_over();
    if (stopped) break;
  }
  const TrainResult train = trainer.finish();
  const Evaluation evaluation = evaluate(*trainer.validation_forward(), config.per_device_eval_batch_size,
                                         model.config().num_labels(), config.label_smoothing_factor, job.communicator);

  const TrialResult result{.trial = trial.index,
                           .state = stopped ? TrialResult::State::stopped : TrialResult::State::finished,
                           .metric = metric_value(evaluation.metrics, spec.metric.name),
                           .details = trial_details(trial, train, evaluation, job.communicator.world_size())};
  if (writer != nullptr) {
    keep_model(trial, result, spec, folder, source.folder, train.state, [&](const auto& use) { use(model); });
  }
  return result;
}

}  // namespace bertdist
