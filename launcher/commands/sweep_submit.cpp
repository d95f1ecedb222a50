#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "commands.h"

namespace bertdist {

namespace {

constexpr const char* kScript = "slurm/sweep.sbatch";

// So that tasks that start together find their files tokenised.
void prepare_all(const Job& job, const std::vector<Trial>& trials) {
  const Log quiet(/*rank=*/1, job.communicator.world_size());
  for (const Trial& trial : trials) {
    const bool is_first = &trial == &trials.front();
    run_prepare({trial.config, job.communicator, job.launch, is_first ? job.log : quiet, job.num_threads});
  }
}

std::string array_of(const SweepRequest& request, std::int64_t num_trials) {
  const std::string wanted = request.trials.empty() ? fmt::format("0-{}", num_trials - 1) : request.trials;
  std::set<std::int64_t> tasks;
  for (const std::int64_t trial : parse_trial_indices(wanted, num_trials))
    tasks.insert(trial / request.trials_per_task);
  return trial_indices_text({tasks.begin(), tasks.end()});
}

// What follows --config, which is the script's first argument, and the keys behind it.
std::vector<std::string> script_arguments(std::vector<std::string> arguments) {
  for (auto it = arguments.begin(); it != arguments.end(); ++it) {
    std::string file;
    if (it->starts_with("--config=")) {
      file = it->substr(std::strlen("--config="));
      arguments.erase(it);
    } else if (*it == "--config") {
      file = *std::next(it);
      arguments.erase(it, it + 2);
    } else {
      continue;
    }
    arguments.insert(arguments.begin(), file);
    return arguments;
  }
  throw Error(ExitCode::configuration, "no --config", "name the sweep's TOML file");
}

[[noreturn]] void become(std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  throw Error(ExitCode::configuration, fmt::format("cannot start {}: {}", command[0], std::strerror(errno)),
              "submit where SLURM's commands are; elsewhere run the sweep with bertdist --config FILE");
}

}  // namespace

void submit_sweep(const Job& job, const SweepRequest& request, const std::vector<Trial>& trials) {
  if (job.communicator.world_size() > 1) {
    throw Error(ExitCode::configuration, "a sweep is submitted by one process", "leave mpirun away");
  }
  if (!std::filesystem::exists(kScript)) {
    throw Error(ExitCode::configuration, fmt::format("there is no {} here", kScript),
                "submit from bertdist's own folder");
  }
  prepare_all(job, trials);

  std::vector<std::string> command{"sbatch", "--array=" + array_of(request, std::ssize(trials))};
  command.insert(command.end(), request.sbatch_options.begin(), request.sbatch_options.end());
  command.emplace_back(kScript);
  for (std::string& argument : script_arguments(request.arguments)) command.push_back(std::move(argument));
  if (request.trials_per_task > 1) {
    command.insert(command.end(), {"--trials_per_task", std::to_string(request.trials_per_task)});
  }
  job.log.info("{}", fmt::join(command, " "));
  become(std::move(command));
}

}  // namespace bertdist
