#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace bertdist {

// For MPI's few calls that wait for all ranks and cannot be polled: ends this process with ExitCode::peer, and so the
// job, when the guarded call takes some seconds longer than `timeout`.
class BlockingCallGuard {
 public:
  BlockingCallGuard(std::chrono::duration<double> timeout, int rank, std::string call);

 private:
  std::mutex mutex_;
  std::condition_variable_any condition_;
  std::jthread thread_;  // stopped and joined first
};

}  // namespace bertdist
