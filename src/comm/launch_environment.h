#pragma once

#include <functional>
#include <optional>
#include <string>

namespace bertdist {

// What SLURM says about the job that this process belongs to.
struct SlurmJob {
  std::string id;                 // "12", or "12_3" for a task of an array
  std::optional<int> array_task;  // SLURM_ARRAY_TASK_ID
  int num_tasks = 1;              // that the job has room for; srun or mpirun is to start them
  int restart_count = 0;          // how often the job was requeued
};

// What the program that started this process promises about it and its peers, before MPI is asked.
struct LaunchEnvironment {
  std::string launcher;  // "mpirun", "srun" or "a PMI launcher"; empty: this process is on its own
  int rank = 0;
  int world_size = 1;         // 0: the launcher does not tell
  int local_rank = 0;         // among the ranks of one node
  bool connects_mpi = false;  // MPI can find the peers
  std::optional<SlurmJob> slurm;
};

// Variables of OpenMPI's mpirun are believed before srun's, because mpirun starts its ranks through srun, and srun's
// before those of the batch script around them. `variable` gives an environment variable's value, or null.
LaunchEnvironment read_launch_environment(const std::function<const char*(const char*)>& variable);
LaunchEnvironment read_launch_environment();

// "rank 0 of 2, local rank 0, as mpirun says; SLURM job 12_3, restarted once"; empty for a process on its own.
std::string describe(const LaunchEnvironment& launch);

// Throws Error(configuration) where a launcher started several ranks that MPI cannot connect: each would run alone.
void require_connected(const LaunchEnvironment& launch);
// The same, once MPI has counted the ranks.
void require_world_size(const LaunchEnvironment& launch, int world_size);

}  // namespace bertdist
