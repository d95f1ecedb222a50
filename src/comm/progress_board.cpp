#include "comm/progress_board.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "base/error.h"

namespace bertdist {

namespace {

// The memory of the host's lowest rank, which the others find by its name; it is gone from the system with the last of
// them, because the name is taken away as soon as all have it.
void* map_shared(MPI_Comm host, std::size_t size) {
  int local_rank = 0;
  MPI_Comm_rank(host, &local_rank);
  std::array<char, 64> name{};
  int descriptor = -1;
  if (local_rank == 0) {
    const std::string text = fmt::format("/bertdist-{}-{}", ::getpid(), now_ns());
    std::copy(text.begin(), text.end(), name.begin());
    descriptor = ::shm_open(name.data(), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (descriptor >= 0 && ::ftruncate(descriptor, static_cast<off_t>(size)) != 0) {
      ::close(descriptor);
      descriptor = -1;
    }
  }
  MPI_Bcast(name.data(), name.size(), MPI_CHAR, 0, host);
  if (local_rank != 0) descriptor = ::shm_open(name.data(), O_RDWR, 0600);
  void* memory = descriptor < 0 ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  int failed = memory == MAP_FAILED ? error : 0;
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, host);
  if (local_rank == 0) ::shm_unlink(name.data());
  if (failed == 0) return memory;
  if (memory != MAP_FAILED) ::munmap(memory, size);
  throw Error(ExitCode::communication, fmt::format("the ranks of this host cannot share memory: {}", strerror(failed)),
              "is /dev/shm there, writable and not full?");
}

}  // namespace

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

ProgressBoard::ProgressBoard(MPI_Comm host) {
  int num_ranks = 0;
  int local_rank = 0;
  MPI_Comm_size(host, &num_ranks);
  MPI_Comm_rank(host, &local_rank);
  size_ = kHeaderSize + static_cast<std::size_t>(num_ranks) * sizeof(BoardSlot);
  memory_ = map_shared(host, size_);
  if (local_rank == 0) {
    ::new (memory_) Header();
    for (int rank = 0; rank < num_ranks; ++rank) ::new (&slot(rank)) BoardSlot();
  }
  MPI_Barrier(host);
}

ProgressBoard::~ProgressBoard() {
  ::munmap(memory_, size_);
}

BoardSlot& ProgressBoard::slot(int local_rank) const {
  auto* const slots = reinterpret_cast<BoardSlot*>(static_cast<std::byte*>(memory_) + kHeaderSize);
  return slots[local_rank];
}

Verdict ProgressBoard::verdict() const {
  if (header().verdict_state.load(std::memory_order_acquire) != 2) return {};
  return header().verdict.load();
}

bool ProgressBoard::set_verdict(const Verdict& verdict) const {
  std::uint32_t none = 0;
  if (!header().verdict_state.compare_exchange_strong(none, 1)) return false;
  header().verdict.store(verdict);
  header().verdict_state.store(2, std::memory_order_release);
  return true;
}

}  // namespace bertdist
