// NCCL in host memory, between processes of one host: a communicator is a file that they map.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <thread>

#include "comm/bfloat16.h"
#include "nccl_stand_in/stand_in.h"

namespace {

constexpr std::size_t kChunk = 1 << 18;  // bytes that a rank shows at a time

std::atomic<bool> holds{false};
std::atomic<int> aborts{0};
std::atomic<ncclResult_t> forced_error{ncclSuccess};

// At the file's beginning; a chunk of each rank follows.
struct Header {
  std::atomic<int> num_joined;
  std::atomic<int> num_left;
  std::atomic<int> num_arrived;
  std::atomic<int> generation;
};
constexpr std::size_t kHeaderSize = 64;

struct Operation {
  std::uint64_t kind;  // 0: all_reduce, 1: broadcast
  std::uint64_t type;
  std::uint64_t op_or_root;
  std::uint64_t count;
  bool operator==(const Operation&) const = default;
};

template <typename T>
T combine(T a, T b, ncclRedOp_t op) {
  return op == ncclSum ? a + b : std::max(a, b);
}

// Rounds each time, as NCCL does.
bertdist::Bfloat16 combine(bertdist::Bfloat16 a, bertdist::Bfloat16 b, ncclRedOp_t op) {
  return bertdist::to_bfloat16(combine(to_float(a), to_float(b), op));
}

template <typename Condition>
bool wait_until(const std::atomic<bool>& gives_up, const Condition& condition) {
  for (int polls = 0; !condition(); ++polls) {
    if (gives_up) return false;
    if (polls > 100) std::this_thread::sleep_for(std::chrono::microseconds(20));
    std::this_thread::yield();
  }
  return true;
}

}  // namespace

struct ncclComm {
  int rank = 0;
  int num_ranks = 1;
  void* memory = nullptr;
  std::size_t size = 0;
  std::atomic<ncclResult_t> state{ncclInProgress};
  std::atomic<bool> is_aborted{false};
  std::jthread helper;  // for what takes other ranks

  Header& header() const { return *static_cast<Header*>(memory); }
  std::byte* chunk(int of_rank) const {
    return static_cast<std::byte*>(memory) + kHeaderSize + static_cast<std::size_t>(of_rank) * kChunk;
  }

  // False where the communicator was aborted meanwhile.
  bool barrier() {
    Header& shared = header();
    const int generation = shared.generation;
    if (++shared.num_arrived == num_ranks) {
      shared.num_arrived = 0;
      ++shared.generation;
      return !is_aborted;
    }
    return wait_until(is_aborted, [&] { return shared.generation != generation; });
  }

  // NCCL itself does not notice, and hangs or mixes things up; a test should.
  bool all_do(const Operation& mine) {
    std::memcpy(chunk(rank), &mine, sizeof(mine));
    if (!barrier()) return false;
    for (int other = 0; other < num_ranks; ++other) {
      if (std::memcmp(chunk(other), &mine, sizeof(mine)) != 0) state = ncclInvalidUsage;
    }
    return barrier() && state == ncclSuccess;
  }

  template <typename T>
  void all_reduce(const T* input, T* output, std::size_t count, ncclRedOp_t op) {
    constexpr std::size_t kCount = kChunk / sizeof(T);
    for (std::size_t begin = 0; begin < count; begin += kCount) {
      const std::size_t part = std::min(kCount, count - begin);
      std::memcpy(chunk(rank), input + begin, part * sizeof(T));
      if (!barrier()) return;
      std::memcpy(output + begin, chunk(0), part * sizeof(T));
      for (int other = 1; other < num_ranks; ++other) {
        const T* values = reinterpret_cast<const T*>(chunk(other));
        for (std::size_t i = 0; i < part; ++i) output[begin + i] = combine(output[begin + i], values[i], op);
      }
      if (!barrier()) return;
    }
  }

  void broadcast(const std::byte* input, std::byte* output, std::size_t size_in_bytes, int root) {
    for (std::size_t begin = 0; begin < size_in_bytes; begin += kChunk) {
      const std::size_t part = std::min(kChunk, size_in_bytes - begin);
      if (rank == root) std::memcpy(chunk(root), input + begin, part);
      if (!barrier()) return;
      if (rank != root) std::memcpy(output + begin, chunk(root), part);
      if (!barrier()) return;
    }
  }

  // Work of the stream; `body` moves the payload.
  template <typename Body>
  ncclResult_t enqueue(cudaStream_t stream, const Operation& operation, Body body) {
    if (state != ncclSuccess) return state;
    bertdist::stand_in::enqueue(stream, [this, operation, body = std::move(body)] {
      if (!wait_until(is_aborted, [] { return !holds; })) return;
      if (all_do(operation)) body();
    });
    return ncclSuccess;
  }
};

namespace bertdist::stand_in {

void hold_collectives(bool hold) {
  holds = hold;
}
void set_async_error(ncclResult_t error) {
  forced_error = error;
}
int num_aborts() {
  return aborts;
}

}  // namespace bertdist::stand_in

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = 22809;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error" : "another error";
}

const char* ncclGetLastError(ncclComm_t) {
  return "from the stand-in";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::random_device random;
  std::snprintf(id->internal, sizeof(id->internal), "/nccl_stand_in_%d_%08x", ::getpid(), random());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0) return ncclInvalidUsage;
  auto* const made = new ncclComm;
  made->rank = rank;
  made->num_ranks = num_ranks;
  made->size = kHeaderSize + static_cast<std::size_t>(num_ranks) * kChunk;
  const int file = ::shm_open(id.internal, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(made->size)) != 0) return ncclSystemError;
  made->memory = ::mmap(nullptr, made->size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (made->memory == MAP_FAILED) return ncclSystemError;
  *comm = made;
  made->helper = std::jthread([made, id] {
    ++made->header().num_joined;
    if (!wait_until(made->is_aborted, [&] { return made->header().num_joined == made->num_ranks; })) return;
    ::shm_unlink(id.internal);
    made->state = ncclSuccess;
  });
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  *error = forced_error != ncclSuccess ? forced_error.load() : comm->state.load();
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  comm->helper = {};
  comm->state = ncclInProgress;
  comm->helper = std::jthread([comm] {
    ++comm->header().num_left;
    if (wait_until(comm->is_aborted, [&] { return comm->header().num_left == comm->num_ranks; })) {
      comm->state = ncclSuccess;
    }
  });
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  comm->helper = {};
  ::munmap(comm->memory, comm->size);
  delete comm;
  return ncclSuccess;
}

// Streams may still hold work of this communicator, which now ends at once; so its memory stays.
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  ++aborts;
  comm->is_aborted = true;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* input, void* output, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  const auto reduce = [=]<typename T>(T* values) {
    return [=] { comm->all_reduce(static_cast<const T*>(input), values, count, op); };
  };
  const Operation operation{0, static_cast<std::uint64_t>(type), static_cast<std::uint64_t>(op), count};
  switch (type) {
    case ncclFloat32:
      return comm->enqueue(stream, operation, reduce(static_cast<float*>(output)));
    case ncclFloat64:
      return comm->enqueue(stream, operation, reduce(static_cast<double*>(output)));
    case ncclInt64:
      return comm->enqueue(stream, operation, reduce(static_cast<std::int64_t*>(output)));
    case ncclBfloat16:
      return comm->enqueue(stream, operation, reduce(static_cast<bertdist::Bfloat16*>(output)));
    default:
      return ncclInvalidArgument;
  }
}

ncclResult_t ncclBroadcast(const void* input, void* output, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  const Operation operation{1, static_cast<std::uint64_t>(type), static_cast<std::uint64_t>(root), count};
  const std::size_t size = count * (type == ncclBfloat16 ? 2 : type == ncclFloat32 ? 4 : 8);
  return comm->enqueue(stream, operation, [=] {
    comm->broadcast(static_cast<const std::byte*>(input), static_cast<std::byte*>(output), size, root);
  });
}
}
