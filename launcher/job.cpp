#include "job.h"

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/content_hash.h"
#include "base/error.h"
#include "base/log.h"
#include "replay_source.h"
#include "text/text_descriptor.h"
#include "threads.h"
#include "trial_check.h"

namespace bertdist {

namespace {

void flush_standard_output() {
  // An earlier flush may have met the error, and dropped what it could not write.
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw Error(ExitCode::output, "standard output cannot be written",
              "the disk or the quota is full, or the reader went away");
}

constexpr std::string_view kTutorialDataset = "shawhin/phishing-site-classification";

void require_data_file(const std::filesystem::path& file) {
  const bool is_of_tutorial = kTutorialDataset.ends_with("/" + file.parent_path().filename().string());
  std::error_code ignored;
  try {
    require_readable(file);
  } catch (const Error& error) {
    if (!is_of_tutorial || std::filesystem::exists(file, ignored)) throw;
    throw Error(error.code(), error.what(), fmt::format("fetch it: launcher/fetch dataset {}", kTutorialDataset));
  }
}

// A misspelt path is found before anything is loaded. What another command than this one reads may be missing.
void require_data_files(Command command, const Config& config) {
  const auto check = [&](std::string_view key, const std::string& file) {
    if (uses_option(command, key) && !file.empty() && file != "-") require_data_file(file);
  };
  check("train_file", config.train_file);
  check("validation_file", config.validation_file);
  check("test_file", config.test_file);
}

void require_cpu(const Config& trial) {
  if (trial.device != "cuda") return;
  throw Error(ExitCode::configuration, "device = \"cuda\": a sweep's trials are trained on the CPU",
              "leave device out, or set it to \"cpu\"; bertdist train computes one run on GPUs");
}

// What must be the same on all ranks: the program, the command and its whole configuration.
std::map<std::string, std::string> identity_of(const Request& request) {
  std::map<std::string, std::string> values = option_values(request.config);
  values["version"] = BERTDIST_VERSION;
  values["command"] = command_name(request.command);
  if (request.sweep && request.sweep->file) {
    values["--trials"] = request.sweep->trials;
    values["trials of the array's task"] = request.sweep->task_trials;
    values["hash of the sweep's file"] = ContentHash().field(request.sweep->file->to_toml()).hex();
  }
  return values;
}

// Where all ranks fail alike, rank 0 is to be the one that says so: it ends
// the job before the others, who wait a moment, have spoken.
int report_failure(int rank, const std::exception& exception) {
  std::fflush(stdout);  // what was printed before it
  const auto* const error = dynamic_cast<const Error*>(&exception);
  // Of a missing peer each rank says what it knows; an empty message was told already.
  const bool is_for_all = error != nullptr && error->code() == ExitCode::peer;
  if (rank != 0 && !is_for_all) std::this_thread::sleep_for(std::chrono::seconds(1));
  if (is_for_all && error->what()[0] == '\0') return static_cast<int>(error->code());
  if (error != nullptr) {
    print_error(rank, error->what(), error->hint());
    return static_cast<int>(error->code());
  }
  if (const auto* system = dynamic_cast<const std::system_error*>(&exception);
      system != nullptr && system->code() == std::errc::no_space_on_device) {
    print_error(rank, system->what(), "the disk or the quota is full");
    return static_cast<int>(ExitCode::output);
  }
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr) {
    print_error(rank, "out of memory", "lower the batch sizes or max_seq_length, or use fewer ranks on a host");
    return static_cast<int>(ExitCode::device);
  }
  print_error(rank, exception.what(), "this is a defect of bertdist: please report it with the command that led here");
  return static_cast<int>(ExitCode::internal);
}

// A training whose file has a [sweep] table is a sweep.
Request parse_request(const Invocation& invocation) {
  Request request{.command = invocation.command, .config = {}, .sweep = {}, .trials = {}, .replay = {}};
  if (request.command == Command::replay) {
    request.replay = parse_replay_request(invocation.arguments);
    request.config = configuration_of_run(*request.replay, request.replay->run);
    require_data_files(Command::train, request.config);
    return request;
  }
  if (request.command == Command::train && has_sweep_table(invocation.arguments)) request.command = Command::sweep;
  if (request.command != Command::sweep) {
    request.config = parse_config(invocation.command, invocation.arguments);
    require_data_files(request.command, request.config);
    return request;
  }
  request.sweep = parse_sweep_request(invocation.sweep_action, invocation.arguments);
  if (!request.sweep->file) return request;
  request.trials = plan_trials(*request.sweep->file);
  const std::optional<SlurmJob> slurm = read_launch_environment().slurm;
  if (request.sweep->action == SweepAction::run && request.sweep->trials.empty() && slurm && slurm->array_task) {
    request.sweep->task_trials = trial_indices_text(
        trials_of_task(*slurm->array_task, request.sweep->trials_per_task, std::ssize(request.trials)));
  }
  const bool trains = request.sweep->action == SweepAction::run || request.sweep->action == SweepAction::submit;
  for (const Trial& trial : request.trials) {
    if (!trains) continue;
    require_data_files(Command::train, trial.config);
    require_cpu(trial.config);
  }
  // A model that is missing is told where it is loaded.
  if (trains) check_trials_with_models(request.trials);
  request.config = request.trials.front().config;
  return request;
}

}  // namespace

int run_program(int argc, char** argv, const std::function<int(const Request&)>& dispatch) {
  try {
    const Invocation invocation = parse_invocation({argv + 1, argv + argc});
    if (invocation.version || invocation.help || argc == 1) {
      fmt::print("{}",
                 invocation.version ? fmt::format("bertdist {}\n", BERTDIST_VERSION) : help_text(invocation.command));
      flush_standard_output();
      return 0;
    }
    return dispatch(parse_request(invocation));
  } catch (const std::exception& exception) {
    return report_failure(read_launch_environment().rank, exception);
  }
}

int run_alone(const std::function<void()>& command) {
  command();
  flush_standard_output();
  return 0;
}

int run_job(const Request& request, const std::function<void(const Job&)>& command, const MakeWorld& make_world) {
  const Config& config = request.config;
  const LaunchEnvironment launch = read_launch_environment();
  try {
    const int num_threads = claim_cores(launch.local_rank, config.num_threads);
    const MpiSession session;
    const std::unique_ptr<Communicator> communicator =
        make_world(session, {.timeout = std::chrono::duration<double>(config.comm_timeout_s)});
    try {
      require_same_values_on_all_ranks(*communicator, identity_of(request), "command, configuration and version");
      const Log log(communicator->rank(), communicator->world_size());
      command({config, *communicator, launch, log, num_threads});
      flush_standard_output();
      // While MPI comes down nobody looks for those that are missing.
      communicator->barrier("the end of the job");
      communicator->leave();
    } catch (const std::exception& exception) {
      // The peers may be waiting for this rank: only an abort ends them too.
      communicator->leave();
      communicator->abort(report_failure(communicator->rank(), exception));
    }
  } catch (const std::exception& exception) {
    return report_failure(launch.rank, exception);
  }
  return 0;
}

}  // namespace bertdist
