#pragma once

#include <mpi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "comm/rank_status.h"

namespace bertdist {

// Nanoseconds of the monotonic clock, which all processes of a host share.
std::int64_t now_ns();

// Which ranks are missing, as one rank found out for all.
struct Verdict {
  // deadlock: all are alive, and wait for each other in collectives of different communicators.
  enum class Kind : std::uint32_t { none, silent, died, deadlock };
  static constexpr std::size_t kCapacity = 16;

  Kind kind = Kind::none;
  std::uint32_t num_ranks = 0;
  std::array<std::int32_t, kCapacity> ranks{};  // of the world; those that do not fit are left out

  void accuse(int rank) {
    if (num_ranks < kCapacity) ranks[num_ranks++] = rank;
  }
  bool accuses(int rank) const {
    return std::find(ranks.begin(), ranks.begin() + num_ranks, rank) != ranks.begin() + num_ranks;
  }
};

// A value that one process writes and others read while it does so. A reader gets a value that was written whole,
// unless the writer was killed or stopped in the middle of writing it.
template <typename T>
class SharedValue {
 public:
  void store(const T& value) {
    Words words{};
    std::memcpy(words.data(), &value, sizeof(T));
    const std::uint64_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    version_.store(version + 2, std::memory_order_release);
  }

  T load() const {
    constexpr int kAttempts = 1000;
    Words words{};
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const std::uint64_t before = version_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) break;
    }
    T value;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof(T));
    return value;
  }

 private:
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr std::size_t kWords = (sizeof(T) + 7) / 8;
  using Words = std::array<std::uint64_t, kWords>;

  std::atomic<std::uint64_t> version_{0};
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

// One rank's place on the board. Only that rank writes to it.
struct alignas(64) BoardSlot {
  std::atomic<std::int64_t> progress_ns{0};     // the last sign of progress
  std::atomic<std::int64_t> polled_ns{0};       // when it last looked for others, waiting in a collective
  std::atomic<std::int64_t> device_wait_ns{0};  // when its device was last seen waiting in a collective
  std::atomic<std::uint32_t> has_told{0};       // it has told its user the verdict
  std::atomic<std::int32_t> process{0};         // its number on this host
  SharedValue<RankStatus> status;
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "a lock would not work between processes");

// The statuses of one host's ranks, in memory that they share: what a rank wrote last can be read when it is stopped or
// dead, by any thread and without MPI.
class ProgressBoard {
 public:
  // Collective over `host`, whose ranks share memory. Throws Error(communication) where there is none to be had.
  explicit ProgressBoard(MPI_Comm host);
  ~ProgressBoard();
  ProgressBoard(const ProgressBoard&) = delete;
  ProgressBoard& operator=(const ProgressBoard&) = delete;

  BoardSlot& slot(int local_rank) const;

  Verdict verdict() const;
  // The first verdict of a host stays; false where there is one.
  bool set_verdict(const Verdict& verdict) const;

 private:
  struct Header {
    std::atomic<std::uint32_t> verdict_state{0};  // 0 none, 1 being written, 2 there
    SharedValue<Verdict> verdict;
  };
  static constexpr std::size_t kHeaderSize = (sizeof(Header) + 63) / 64 * 64;

  Header& header() const { return *static_cast<Header*>(memory_); }

  void* memory_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace bertdist
