#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "comm/bfloat16.h"

namespace bertdist {

enum class DType { float32, float64, int64, bfloat16 };
enum class ReduceOp { sum, max };

enum class Memory { host, device };

// What a collective reads and writes in place; the caller owns it. Memory of the rank's CUDA device belongs to the work
// of a stream: what that has in its queue is done before the collective, and what enters it afterwards sees the result,
// while the call itself returns at once.
struct Buffer {
  void* data;
  std::size_t count;  // elements
  DType dtype;
  Memory memory = Memory::host;
  void* stream = nullptr;  // of device memory: a cudaStream_t
};

inline Buffer buffer_of(std::span<float> values) {
  return {values.data(), values.size(), DType::float32};
}
inline Buffer buffer_of(std::span<double> values) {
  return {values.data(), values.size(), DType::float64};
}
inline Buffer buffer_of(std::span<std::int64_t> values) {
  return {values.data(), values.size(), DType::int64};
}
inline Buffer buffer_of(std::span<Bfloat16> values) {
  return {values.data(), values.size(), DType::bfloat16};
}

using Bytes = std::vector<std::byte>;

// Sums and maxima that are taken while the caller computes, one after the other. Every rank starts the same ones in the
// same order. From the first start() to finish() the rank makes no other call to its communicators, and none to
// progress() but advance(). What is under way when the queue goes is waited for, what is behind it is dropped.
class AllReduceQueue {
 public:
  virtual ~AllReduceQueue() = default;
  AllReduceQueue() = default;
  AllReduceQueue(const AllReduceQueue&) = delete;
  AllReduceQueue& operator=(const AllReduceQueue&) = delete;

  // As Communicator::all_reduce, but returns at once: nobody may touch the buffer before finish(). Of device memory the
  // collective waits for what its stream has in its queue now, and not for what enters it afterwards. On any thread.
  // Throws what an earlier one threw.
  virtual void start(Buffer buffer, ReduceOp op, std::string_view what) = 0;
  // Returns when all that was started has ended; where it is device memory, when the streams wait for it. Throws what
  // one of them threw.
  virtual void finish() = 0;
};

// The ranks of one job. Each collective must be called by every rank, in the same order and with the same `what`, which
// names the call in errors ("gradients", "evaluation logits"). Counts must agree except where said. Throws Error(peer)
// on every rank that is left where another one died, gave no sign of progress for the timeout, or entered another call;
// nothing was changed then if the payload had not begun to move. Only a communicator with NCCL takes device memory;
// what befalls such a payload once it moves is thrown by a later call.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  virtual int local_rank() const = 0;         // among the ranks of this host
  virtual int local_world_size() const = 0;   // ranks on this host
  virtual std::string_view name() const = 0;  // "one process", "MPI", "MPI and NCCL"

  // In place. A sum of host memory is taken in the order of ranks, so its bits depend neither on how a buffer is split
  // into calls nor on the network; NCCL chooses an order of its own. A sum of bfloat16 numbers is taken in float32 and
  // rounded once, by NCCL at each addition; of host memory there is no maximum of them.
  virtual void all_reduce(Buffer buffer, ReduceOp op, std::string_view what) = 0;
  // Not collective; outlived by the communicator. Here each collective has ended when start() returns.
  virtual std::unique_ptr<AllReduceQueue> make_all_reduce_queue();
  // In place, from `root` to all.
  virtual void broadcast(std::span<std::byte> bytes, int root, std::string_view what) = 0;
  virtual void broadcast(Buffer buffer, int root, std::string_view what) = 0;
  // Any size on each rank. Root gets one entry a rank, in the order of ranks; the others get nothing.
  virtual std::vector<Bytes> gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) = 0;
  // Any size on each rank; every rank gets one entry a rank, in the order of ranks.
  virtual std::vector<Bytes> all_gather(std::span<const std::byte> bytes, std::string_view what) = 0;
  virtual void barrier(std::string_view what) = 0;
  // Returns when all collectives of device memory have ended: how to wait for the device such that a missing peer is
  // found. Without NCCL there is nothing to wait for.
  virtual void synchronize(std::string_view) {}

  // The ranks that gave the same `color` (0 or more), in the order of their ranks here. Not to be used while a
  // collective of this communicator is under way; outlived by the session, but not by this communicator.
  virtual std::unique_ptr<Communicator> split(int color, std::string_view what) = 0;

  // Where this rank is, for those that wait for it. The same for all communicators of a rank.
  virtual Progress& progress() = 0;
  // This rank has done its part, or is about to abort: from here on nobody is to miss it. Not collective.
  virtual void leave() = 0;

  // Ends the whole job with this exit code, on every rank. May be called by one rank alone. With ExitCode::peer it
  // first gives the others, who know by then, a few seconds to say so too.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

struct CommunicatorOptions {
  std::chrono::duration<double> timeout{120};  // for which a rank may give no sign of progress
  std::string device = "CPU";                  // of this rank, for messages
};

// Owns MPI's lifetime: made first in main and destroyed last. Without a launcher (mpirun, srun --mpi=pmix) it does not
// touch MPI at all and the job is one process.
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // All ranks, outlived by the session.
  std::unique_ptr<Communicator> world(const CommunicatorOptions& options) const;
  bool connects_ranks() const { return initialized_; }  // by MPI

 private:
  bool initialized_ = false;
};

std::size_t size_of(DType dtype);  // in bytes

// Text of any size from root to all.
std::string broadcast_text(Communicator& communicator, std::string text, int root, std::string_view what);

// Throws on every rank Error(communication) naming the first rank whose `value` differs from rank 0's.
void require_same_on_all_ranks(Communicator& communicator, std::string_view value, std::string_view what);

// The same for values with names ("seed" -> "42"). Where any differs, every rank throws Error(communication) naming all
// ranks that differ from rank 0, in which names, and with which values. Only hashes travel where all are the same.
void require_same_values_on_all_ranks(Communicator& communicator, const std::map<std::string, std::string>& values,
                                      std::string_view what);

}  // namespace bertdist
