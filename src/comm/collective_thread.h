#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "comm/peer_watch.h"

namespace bertdist {

// Runs a rank's collectives, one after the other, while its main thread computes. From the first push() to the end of
// finish() this thread alone calls MPI; MPI_THREAD_SERIALIZED suffices.
class CollectiveThread {
 public:
  explicit CollectiveThread(PeerWatch& watch);
  // Waits for the collective that is under way, which ends or finds that a peer is missing; drops those behind it.
  ~CollectiveThread();
  CollectiveThread(const CollectiveThread&) = delete;
  CollectiveThread& operator=(const CollectiveThread&) = delete;

  // Returns at once. Throws what an earlier collective threw.
  void push(std::function<void()> collective);
  // Waits for all of them. Throws what one of them threw, after which the others were dropped.
  void finish();

 private:
  void run(const std::stop_token& stop);
  void throw_failure();

  PeerWatch& watch_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> waiting_;
  bool is_running_ = false;
  std::exception_ptr failure_;
  std::jthread thread_;  // stopped and joined first
};

}  // namespace bertdist
