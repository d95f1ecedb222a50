#pragma once

#include <cstdint>
#include <optional>

namespace bertdist {

// Gives this process its share of the host's cores and returns how many threads it should use: the cores that the job
// has on this host, divided among its ranks there, at least one. Undoes mpirun's default of binding each rank to one
// core, which would starve a rank's threads. Call it before any library starts threads, MPI and CUDA included.
int claim_cores(int local_rank, std::optional<std::int64_t> num_threads);

}  // namespace bertdist
