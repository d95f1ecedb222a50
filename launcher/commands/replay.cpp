#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/stop_token.h"
#include "commands.h"
#include "debug_mode.h"
#include "debugging/debugger.h"
#include "model_setup.h"
#include "replay_source.h"
#include "report/table.h"
#include "splits.h"
#include "torch_setup.h"
#include "train/run_schedule.h"
#include "train/trainer.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

// What the step was computed by, and where to begin.
struct ReplayPlan {
  RunIdentity identity;
  fs::path checkpoint;  // empty: the beginning
  Config config;
};

// A run that was resumed may have gone on with other options or ranks: what holds for a step is what the first
// checkpoint after it says, and, where there is none, what the run noted when it last started.
ReplayPlan plan_replay(const ReplayRequest& request, const CheckpointStore& run) {
  fs::path recorded = run.oldest_from(request.step);
  if (recorded.empty()) recorded = run.output_dir();
  if (!fs::exists(recorded / "run_identity.json")) {
    throw Error(ExitCode::configuration,
                fmt::format("'{}' does not say which run it is: it has no run_identity.json", recorded.string()),
                "only what bertdist train wrote can be replayed; trials of a sweep cannot");
  }
  ReplayPlan plan{.identity = load_run_identity(recorded),
                  .checkpoint = run.newest_up_to(request.step - 1),
                  .config = configuration_of_run(request, recorded)};
  plan.config.output_dir = run.output_dir().string();
  plan.config.resume_from_checkpoint.reset();
  if (!plan.checkpoint.empty()) plan.config.resume_from_checkpoint = plan.checkpoint.string();
  plan.config.debug = true;
  plan.config.debug_world_size = plan.identity.world_size;
  plan.config.num_threads = plan.identity.num_threads;
  plan.config.debug_overfit_batches.reset();
  return plan;
}

// A run that is not finished may be replayed up to the step that it stopped in, which no file names.
void require_step_of_run(std::int64_t step, const CheckpointStore& run, std::int64_t max_steps) {
  const bool is_finished = fs::exists(run.output_dir() / "trainer_state.json");
  const std::int64_t finished_step = is_finished ? load_trainer_state(run.output_dir()).global_step : max_steps;
  const std::int64_t last = run.oldest_from(finished_step + 1).empty() ? finished_step : max_steps;
  if (step <= last) return;
  throw Error(ExitCode::configuration,
              fmt::format("--step {}: the run in '{}' has {}", step, run.output_dir().string(), counted(last, "step")),
              fmt::format("choose one from 1 to {}", last));
}

void require_same_data(const Splits& splits, const ReplayPlan& plan) {
  if (splits.train->fingerprint() == plan.identity.train_data) return;
  throw Error(ExitCode::data,
              fmt::format("the training rows changed since the run in '{}': '{}' has other rows, or the tokenizer or "
                          "an option that selects them is another one",
                          plan.config.output_dir, plan.config.train_file),
              "bring back the file that the run was trained on; --train_file FILE names it where it lies elsewhere");
}

void require_same_model(const RunIdentity& current, const ReplayPlan& plan) {
  if (current.frozen_weights == plan.identity.frozen_weights) return;
  throw Error(
      ExitCode::model,
      fmt::format("the frozen weights of '{}' are not those of the run in '{}'", plan.config.model_name_or_path,
                  plan.config.output_dir),
      "bring back the model that the run started from; --model_name_or_path DIR names it where it lies elsewhere");
}

void print_rows(Trainer& trainer, const ReplayRequest& request, const Dataset& train, const SourceRows& source,
                const std::vector<std::string>& label_names, int world_size) {
  constexpr std::size_t kMaxCharacters = 60;
  for (int rank = 0; rank < world_size; ++rank) {
    TablePrinter table({{"row"}, {"label"}, {"tokens", Align::right}, {"text"}});
    std::int64_t num_rows = 0;
    std::int64_t num_tokens = 0;
    for (const std::vector<std::int64_t>& batch : trainer.micro_batches(request.step - 1, rank)) {
      std::vector<std::int64_t> lines;
      for (const std::int64_t index : batch) lines.push_back(train.cache().source_line(train.row(index)));
      const std::vector<SourceRow> rows = source.read(lines);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        const std::int64_t label = train.label(batch[i]);
        const std::int32_t length = train.lengths()[static_cast<std::size_t>(batch[i])];
        const std::string pair = rows[i].text_pair ? " / " + shortened(*rows[i].text_pair, kMaxCharacters) : "";
        table.add_row({fmt::format("{}:{}", source.file().string(), lines[i]),
                       fmt::format("{} {}", label, label_names[static_cast<std::size_t>(label)]),
                       std::to_string(length), shortened(rows[i].text, kMaxCharacters) + pair});
        ++num_rows;
        num_tokens += length;
      }
    }
    fmt::print("rank {}: {}, {}\n", rank, counted(num_rows, "row"), counted(num_tokens, "token"));
    fmt::print("{}\n", num_rows > 0 ? "\n" + table.to_string() : "");
  }
}

// What the run itself wrote down of the step; nothing where it did not, or only a mean over several steps.
std::optional<nlohmann::json> logged_step(const Config& config, std::int64_t step) {
  const bool logs_each_step = config.logging_strategy == Config::Strategy::steps && config.logging_steps == 1;
  if (!logs_each_step) return std::nullopt;
  std::optional<nlohmann::json> found;
  std::ifstream file(fs::path(config.output_dir) / "run_log.jsonl");
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object() || !entry.contains("loss") || entry.value("step", std::int64_t{0}) != step) continue;
    found = entry;  // the last one: a step may have been computed again after a failure
  }
  return found;
}

void print_step(const StepResult& result, const TrainerState& state, const Config& config) {
  fmt::print("step {} of {}\n", state.global_step, state.max_steps);
  const std::optional<nlohmann::json> logged = logged_step(config, state.global_step);
  const auto print = [&](const char* name, double value) {
    std::string comparison;
    if (logged && logged->contains(name) && logged->at(name).is_number()) {
      const double of_run = logged->at(name);
      comparison = of_run == value ? "  as the run logged it"
                                   : fmt::format("  the run logged {} (difference {:.1e})", of_run, value - of_run);
    }
    fmt::print("{:<15}{}{}\n", name, value, comparison);
  };
  print("loss", result.loss);
  print("grad_norm", result.grad_norm);
  print("learning_rate", result.learning_rate);
}

}  // namespace

void run_replay(const Job& job, const ReplayRequest& request) {
  const StopToken stop;
  begin_debug_mode(job);
  const CheckpointStore run(request.run, {}, {});
  const ReplayPlan plan = plan_replay(request, run);
  const Config& config = plan.config;
  const int world_size = plan.identity.world_size;
  const Job replayed{config, job.communicator, job.launch, job.log, plan.identity.num_threads, job.gpu};
  use_threads(replayed);

  const ModelSource source = open_model_source(config);
  const TokenCaches caches = open_caches(prepare_caches(replayed, source, known_labels(config, source.config)));
  const Splits splits = select_rows(config, caches);
  require_same_data(splits, plan);
  require_step_of_run(
      request.step, run,
      num_training_steps(config, num_steps_per_epoch(splits.train->size(), global_batch_size(config, world_size))));
  BertForSequenceClassification model = load_model(replayed, source.folder, caches.labels.names());
  apply_freezing(model, freeze_spec(config), config.frozen_dropout);

  FrozenPassOptions frozen_pass = frozen_pass_options(replayed);
  // A GPU computes them as it does the others.
  if (!job.gpu) frozen_pass.dtype = plan.identity.frozen_dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  check_rows(config, caches, splits, model.config());
  if (config.debug_check_gradients) check_gradients(job, model.config());
  Debugger debugger(model, row_names(config, config.train_file, caches.train));
  debugger.show_parameters_of(request.step - 1);
  Trainer trainer(config, model, *splits.train, nullptr, frozen_pass, run, job.communicator, job.log, stop,
                  TrainerRole::replay, &debugger);
  require_same_model(trainer.identity(), plan);
  if (trainer.identity().device != plan.identity.device) {
    job.log.warn("the run computed on a {}, this replay does on a {}: its numbers are near, not the same",
                 plan.identity.device, trainer.identity().device);
  }
  const std::int64_t first_step = trainer.start();
  if (config.debug_trace) debugger.trace(*config.debug_trace, request.step - first_step);
  job.log.info("replaying steps {} to {}: {} of {}, simulated", first_step + 1, request.step,
               counted(world_size, "rank"), counted(replayed.num_threads, "thread"));
  print_rows(trainer, request, *splits.train, source_rows(config, config.train_file), caches.labels.names(),
             world_size);
  const StepResult result = trainer.replay(request.step);
  print_step(result, trainer.state(), config);
  fmt::print("\n{}", debugger.summary());
}

}  // namespace bertdist
