#include "comm/launch_environment.h"

#include <fmt/core.h>

#include <cstdlib>

#include "base/error.h"

namespace bertdist {

namespace {

constexpr const char* kHint = "inside a SLURM job start with mpirun, or with srun --mpi=pmix; elsewhere with mpirun";

class Environment {
 public:
  explicit Environment(const std::function<const char*(const char*)>& variable) : variable_(variable) {}

  bool has(const char* name) const { return variable_(name) != nullptr; }
  std::string text(const char* name) const { return has(name) ? variable_(name) : ""; }
  int number(const char* name, int otherwise) const { return has(name) ? std::atoi(variable_(name)) : otherwise; }

 private:
  const std::function<const char*(const char*)>& variable_;
};

std::optional<SlurmJob> read_slurm_job(const Environment& environment) {
  if (!environment.has("SLURM_JOB_ID")) return std::nullopt;
  SlurmJob job{.id = environment.text("SLURM_JOB_ID"),
               .array_task = std::nullopt,
               .num_tasks = environment.number("SLURM_NTASKS", 1),
               .restart_count = environment.number("SLURM_RESTART_COUNT", 0)};
  if (environment.has("SLURM_ARRAY_TASK_ID")) {
    job.array_task = environment.number("SLURM_ARRAY_TASK_ID", 0);
    job.id = environment.text("SLURM_ARRAY_JOB_ID") + "_" + environment.text("SLURM_ARRAY_TASK_ID");
  }
  return job;
}

}  // namespace

LaunchEnvironment read_launch_environment(const std::function<const char*(const char*)>& variable) {
  const Environment environment(variable);
  LaunchEnvironment launch;
  launch.slurm = read_slurm_job(environment);
  const bool has_pmi = environment.has("PMIX_RANK") || environment.has("PMI_RANK");
  if (environment.has("OMPI_COMM_WORLD_SIZE")) {
    launch.launcher = "mpirun";
    launch.rank = environment.number("OMPI_COMM_WORLD_RANK", 0);
    launch.world_size = environment.number("OMPI_COMM_WORLD_SIZE", 0);
    launch.local_rank = environment.number("OMPI_COMM_WORLD_LOCAL_RANK", 0);
    launch.connects_mpi = true;
  } else if (environment.has("SLURM_STEP_ID")) {
    // A batch script has SLURM_PROCID and SLURM_NTASKS as well, but only what srun starts is a step.
    launch.launcher = "srun";
    launch.rank = environment.number("SLURM_PROCID", 0);
    launch.world_size = environment.number("SLURM_STEP_NUM_TASKS", 1);
    launch.local_rank = environment.number("SLURM_LOCALID", 0);
    launch.connects_mpi = has_pmi;
  } else if (has_pmi) {
    launch.launcher = "a PMI launcher";
    launch.rank = environment.number("PMIX_RANK", environment.number("PMI_RANK", 0));
    launch.world_size = environment.number("PMI_SIZE", 0);
    launch.connects_mpi = true;
  }
  return launch;
}

LaunchEnvironment read_launch_environment() {
  return read_launch_environment([](const char* name) { return std::getenv(name); });
}

std::string describe(const LaunchEnvironment& launch) {
  std::string text;
  if (!launch.launcher.empty()) {
    text = fmt::format("rank {} of {}, local rank {}, as {} says", launch.rank,
                       launch.world_size == 0 ? "?" : std::to_string(launch.world_size), launch.local_rank,
                       launch.launcher);
  }
  if (!launch.slurm) return text;
  text += fmt::format("{}SLURM job {}", text.empty() ? "" : "; ", launch.slurm->id);
  if (launch.slurm->array_task) text += fmt::format(", array task {}", *launch.slurm->array_task);
  if (launch.slurm->restart_count > 0) text += fmt::format(", SLURM_RESTART_COUNT {}", launch.slurm->restart_count);
  return text;
}

void require_connected(const LaunchEnvironment& launch) {
  if (launch.connects_mpi || launch.world_size <= 1) return;
  throw Error(ExitCode::configuration,
              fmt::format("{} started {} processes, but MPI cannot connect them: each would run alone", launch.launcher,
                          launch.world_size),
              kHint);
}

void require_world_size(const LaunchEnvironment& launch, int world_size) {
  if (launch.world_size == 0 || launch.world_size == world_size) return;
  throw Error(ExitCode::configuration,
              fmt::format("{} promises {} ranks, but MPI sees {}", launch.launcher, launch.world_size, world_size),
              kHint);
}

}  // namespace bertdist
