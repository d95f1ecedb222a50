#include "comm/communicator.h"

#include <fmt/core.h>
#include <mpi.h>

#include "base/error.h"
#include "comm/launch_environment.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"

namespace bertdist {

MpiSession::MpiSession() {
  const LaunchEnvironment launch = read_launch_environment();
  require_connected(launch);
  if (!launch.connects_mpi) return;
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
    throw Error(ExitCode::communication, "MPI_Init_thread failed");
  }
  initialized_ = true;
  if (provided < MPI_THREAD_SERIALIZED) throw Error(ExitCode::communication, "this MPI has no MPI_THREAD_SERIALIZED");
}

MpiSession::~MpiSession() {
  // MPI_Finalize waits for all ranks; while an exception unwinds the peers may never come.
  if (initialized_ && std::uncaught_exceptions() == 0) MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world(const CommunicatorOptions& options) const {
  if (!initialized_) return std::make_unique<OneProcessCommunicator>();
  auto world = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, options);
  require_world_size(read_launch_environment(), world->world_size());
  return world;
}

std::string broadcast_text(Communicator& communicator, std::string text, int root, std::string_view what) {
  auto size = static_cast<std::int64_t>(text.size());
  communicator.broadcast(std::as_writable_bytes(std::span(&size, 1)), root, what);
  text.resize(static_cast<std::size_t>(size));
  communicator.broadcast(std::as_writable_bytes(std::span(text)), root, what);
  return text;
}

void require_same_on_all_ranks(Communicator& communicator, std::string_view value, std::string_view what) {
  const std::vector<Bytes> values = communicator.all_gather(std::as_bytes(std::span(value)), what);
  for (std::size_t rank = 1; rank < values.size(); ++rank) {
    if (values[rank] == values[0]) continue;
    throw Error(ExitCode::communication, fmt::format("rank {} and rank 0 differ in {}", rank, what),
                "start all ranks with the same files, options and version of bertdist");
  }
}

}  // namespace bertdist
