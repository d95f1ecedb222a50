#include "debug_mode.h"

#include <ATen/Context.h>
#include <fmt/core.h>

#include <cstdlib>

#include "base/error.h"

namespace bertdist {

void begin_debug_mode(const Job& job) {
  const int world_size = job.communicator.world_size();
  if (world_size > 1) {
    throw Error(ExitCode::configuration, fmt::format("debug mode is one process, not {}", world_size),
                fmt::format("start it without mpirun; --debug.world_size {} computes what {} ranks do, to the bit; "
                            "--debug false ignores the file's [debug]",
                            world_size, world_size));
  }
  // cuBLAS is deterministic only with a workspace of fixed size, and reads this when it starts.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(/*b=*/true, /*warn_only=*/false);
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setBenchmarkCuDNN(false);
}

}  // namespace bertdist
