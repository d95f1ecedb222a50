#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <set>

#include "base/stop_token.h"
#include "commands.h"
#include "debug_mode.h"
#include "label_report.h"
#include "model_setup.h"
#include "output_folder.h"
#include "parameter_table.h"
#include "report/run_log.h"
#include "results.h"
#include "splits.h"
#include "torch_setup.h"
#include "train/resume.h"
#include "train/run_schedule.h"
#include "train/trainer.h"

namespace bertdist {

namespace {

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

void warn_of_unwritable_cache(const Job& job, const FrozenPassOptions& options, const RunIdentity& identity) {
  if (job.communicator.rank() != 0 || options.may_write || identity.frozen_dtype.empty()) return;
  job.log.warn("'{}' cannot be written: the frozen layers' output that is not there yet is kept in memory",
               job.config.token_cache_dir);
}

std::string describe_dtype(const Job& job, const RunIdentity& identity) {
  if (training_dtype(job) == at::kBFloat16) return "bfloat16";
  return identity.frozen_dtype == "bfloat16" ? "float32, frozen layers bfloat16," : "float32";
}

void announce_ranks(const Job& job, const RunIdentity& identity) {
  const std::string host = host_name();
  std::set<std::string> hosts;
  for (const Bytes& name : job.communicator.all_gather(std::as_bytes(std::span(host)), "host names")) {
    hosts.emplace(reinterpret_cast<const char*>(name.data()), name.size());
  }
  const int world_size = identity.world_size;
  const bool is_simulation = world_size != job.communicator.world_size();
  job.log.info("bertdist {}: {} rank{}{} on {} host{} ({}), {} thread{} each, {}, {} on {}", BERTDIST_VERSION,
               world_size, world_size == 1 ? "" : "s", is_simulation ? ", simulated," : "", hosts.size(),
               hosts.size() == 1 ? "" : "s", *hosts.begin(), job.num_threads, job.num_threads == 1 ? "" : "s",
               job.communicator.name(), describe_dtype(job, identity), job.gpu ? job.gpu->name : "the CPU");
  if (const std::string launch = describe(job.launch); !launch.empty()) job.log.info("{}", launch);
  if (job.launch.slurm && job.launch.slurm->num_tasks > job.communicator.world_size()) {
    job.log.info("SLURM has room for {} tasks in this job: mpirun, or srun --mpi=pmix, starts one rank on each",
                 job.launch.slurm->num_tasks);
  }
}

// For whoever reads the record of a run that was requeued: which start was which.
void log_start(const Job& job) {
  if (job.communicator.rank() != 0) return;
  nlohmann::ordered_json event = {{"started_by", job.launch.launcher.empty() ? "user" : job.launch.launcher},
                                  {"world_size", num_ranks(job.config, job.communicator)}};
  if (job.launch.slurm) {
    event["slurm_job_id"] = job.launch.slurm->id;
    event["slurm_restart_count"] = job.launch.slurm->restart_count;
  }
  RunLog(job.config.output_dir).append(event);
}

}  // namespace

void run_train(const Job& job) {
  const StopToken stop;
  if (job.config.debug) begin_debug_mode(job);
  const int num_threads = use_threads(job);
  if (overfits(job.config)) return run_overfit(job);
  const Config& config = job.config;
  Communicator& communicator = job.communicator;
  const FrozenPassOptions frozen_pass = frozen_pass_options(job);
  const RunIdentity identity = identity_before_loading(config, num_ranks(config, communicator), num_threads,
                                                       frozen_pass.dtype, job.gpu.has_value());
  announce_ranks(job, identity);
  warn_of_unwritable_cache(job, frozen_pass, identity);
  const ModelSource source = open_model_source(config);
  check_freezing(source.config, freeze_spec(config));
  BertForSequenceClassification::check_pretrained(source.folder);
  const CheckpointStore checkpoints(config.output_dir, source.folder, to_toml(config));
  std::optional<OutputFolder> output_folder;
  if (communicator.rank() == 0) {
    output_folder.emplace(config, source.folder, checkpoints, job.log);
    check_checkpoint(checkpoints, config, identity, job.log);
  }

  const TokenCaches caches = open_caches(prepare_caches(job, source, known_labels(config, source.config)));
  const Splits splits = select_rows(config, caches);
  report_labels(job, caches.labels, *splits.train, source.config);
  warn_of_missing_classes(job, splits, std::ssize(caches.labels.names()));
  BertForSequenceClassification model = load_model(job, source.folder, caches.labels.names());
  const Freezing freezing = apply_freezing(model, freeze_spec(config), config.frozen_dropout);
  if (communicator.rank() == 0) {
    fmt::print("{}\n", parameter_table(freezing));
    std::fflush(stdout);
  }

  std::optional<Debugger> debugger;
  if (config.debug) {
    check_rows(config, caches, splits, model.config());
    if (config.debug_check_gradients) check_gradients(job, model.config());
    debugger.emplace(model, row_names(config, config.train_file, caches.train));
  }
  Trainer trainer(config, model, *splits.train, splits.validation ? &*splits.validation : nullptr, frozen_pass,
                  checkpoints, communicator, job.log, stop, TrainerRole::run, debugger ? &*debugger : nullptr);
  const std::int64_t first_step = trainer.start();
  if (debugger) {
    debugger->show_parameters_of(first_step);
    if (config.debug_trace) debugger->trace(*config.debug_trace, trainer.state().max_steps - first_step);
  }
  if (output_folder) output_folder->claim(first_step, trainer.identity());
  log_start(job);
  const TrainResult result = trainer.train();
  if (debugger) fmt::print("\n{}", debugger->summary());

  const ResultFiles results(config.output_dir, communicator.rank());
  results.write("train", {{"epoch", result.state.epoch},
                          {"train_loss", result.train_loss},
                          {"train_runtime", result.train_runtime},
                          {"train_samples", splits.train->size()},
                          {"global_step", result.state.global_step}});
  const auto final_metrics = [&](const Forward& forward, const char* name, const char* prefix) {
    results.write(name, evaluate(forward, config.per_device_eval_batch_size, model.config().num_labels(),
                                 config.label_smoothing_factor, communicator)
                            .to_json(prefix));
  };
  if (trainer.validation_forward()) final_metrics(*trainer.validation_forward(), "eval", "eval_");
  if (splits.test) final_metrics(Forward(model, *splits.test, frozen_pass, communicator, job.log), "test", "test_");

  if (communicator.rank() == 0) {
    communicator.progress().enter("writing the final model");
    checkpoints.save_final_model(model, result.state, &communicator.progress());
    if (!result.state.best_model_checkpoint.empty()) {
      fmt::print("\nbest checkpoint: {} ({} {:.4f})\n", result.state.best_model_checkpoint,
                 config.metric_for_best_model, *result.state.best_metric);
    }
    fmt::print("the model is in {}\n", config.output_dir);
  }
}

}  // namespace bertdist
