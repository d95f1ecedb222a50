// A rank that is done, while another one still works.
#include <gtest/gtest.h>
#include <mpi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "comm/mpi_communicator.h"

namespace {
std::atomic<bool> closes_slowly = false;
}  // namespace

// Instead of libc's: as on a machine that is busy, much may happen between this call and the next.
extern "C" int close(int descriptor) {
  const auto result = static_cast<int>(::syscall(SYS_close, descriptor));
  if (closes_slowly) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  return result;
}

namespace bertdist {
namespace {

TEST(Leaving, ARankThatIsDoneDoesNotTakeTheOthersForDead) {
  std::optional<MpiCommunicator> communicator(std::in_place, MPI_COMM_WORLD, CommunicatorOptions{});
  const int rank = communicator->rank();
  communicator->barrier("the end of the job");
  if (rank == 0) {
    closes_slowly = true;
    communicator.reset();
    closes_slowly = false;
  }
  MPI_Barrier(MPI_COMM_WORLD);
  // Where anybody has given this rank up, it hears of it here.
  if (rank != 0) {
    EXPECT_NO_THROW(communicator->progress().advance());
  }
}

}  // namespace
}  // namespace bertdist
