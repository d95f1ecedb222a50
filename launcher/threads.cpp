#include "threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace bertdist {

namespace {

std::vector<int> cores_of(pid_t process) {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(process, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

}  // namespace

int claim_cores(int local_rank, std::optional<std::int64_t> num_threads) {
  std::vector<int> cores = cores_of(0);
  // OpenMPI's daemon, the parent of its ranks, keeps all the cores that the job was given on this host.
  const char* const local_size = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  const bool bound_by_openmpi = local_size != nullptr;
  if (bound_by_openmpi)
    cores = std::max(cores, cores_of(getppid()), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  // Without OpenMPI's binding a launcher's own (srun's, taskset's) is each rank's share already.
  const std::size_t ranks = bound_by_openmpi ? static_cast<std::size_t>(std::max(1, std::atoi(local_size))) : 1;
  const std::size_t share = cores.size() / ranks;
  if (bound_by_openmpi) {
    cpu_set_t set;
    CPU_ZERO(&set);
    const std::size_t first = share == 0 ? 0 : static_cast<std::size_t>(local_rank) * share;
    const std::size_t count = share == 0 ? cores.size() : share;
    for (std::size_t i = first; i < first + count; ++i) CPU_SET(cores[i], &set);
    sched_setaffinity(0, sizeof(set), &set);
  }
  return static_cast<int>(num_threads.value_or(static_cast<std::int64_t>(std::max<std::size_t>(1, share))));
}

}  // namespace bertdist
