#include <fmt/format.h>

#include "base/error.h"
#include "base/stop_token.h"
#include "debug_mode.h"
#include "model_setup.h"
#include "report/table.h"
#include "splits.h"
#include "torch_setup.h"
#include "train/run_schedule.h"
#include "train/trainer.h"

namespace bertdist {

namespace {

constexpr double kTarget = 0.01;

// Nothing that keeps the loss up: no dropout anywhere, which the trainer sees to, and labels as they are.
Config config_to_overfit(Config config) {
  config.frozen_dropout = false;
  config.label_smoothing_factor = 0;
  config.resume_from_checkpoint.reset();
  return config;
}

}  // namespace

void run_overfit(const Job& given) {
  const StopToken stop;
  const Config config = config_to_overfit(given.config);
  const Job job{config, given.communicator, given.launch, given.log, given.num_threads, given.gpu};
  const ModelSource source = open_model_source(config);
  const TokenCaches caches = open_caches(prepare_caches(job, source, known_labels(config, source.config)));
  const Splits splits = select_rows(config, caches);
  BertForSequenceClassification model = load_model(job, source.folder, caches.labels.names());
  apply_freezing(model, freeze_spec(config), config.frozen_dropout);
  check_rows(config, caches, {.train = splits.train, .validation = {}, .test = {}}, model.config());
  if (config.debug_check_gradients) check_gradients(job, model.config());

  const CheckpointStore no_checkpoints(config.output_dir, source.folder, to_toml(config));
  Debugger debugger(model, row_names(config, config.train_file, caches.train));
  debugger.show_parameters_of(0);
  Trainer trainer(config, model, *splits.train, nullptr, frozen_pass_options(job), no_checkpoints, job.communicator,
                  job.log, stop, TrainerRole::replay, &debugger);
  trainer.start();
  if (config.debug_trace) debugger.trace(*config.debug_trace, trainer.state().max_steps);
  job.log.info("overfitting: {} rows a batch, at most {}", trainer.state().train_batch_size,
               counted(trainer.state().max_steps, "step"));
  const OverfitResult result = trainer.overfit(kTarget);
  fmt::print("{}", debugger.summary());
  const std::string outcome =
      fmt::format("overfit_batches = {}: after {} the mean loss is {:.4g}", *config.debug_overfit_batches,
                  counted(result.num_steps, "step"), result.loss);
  if (result.loss < kTarget) {
    fmt::print("{}\n", outcome);
    return;
  }
  throw Error(ExitCode::overfit, fmt::format("{}, not below {}", outcome, kTarget),
              "a higher learning_rate or max_steps; otherwise equal texts have different labels, what is trained is "
              "too little, or something is broken");
}

}  // namespace bertdist
