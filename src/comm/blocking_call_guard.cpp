#include "comm/blocking_call_guard.h"

#include <fmt/core.h>

#include <cstdlib>

#include "base/error.h"
#include "base/log.h"

namespace bertdist {

namespace {

// Connections are made in such calls, and processes still start, which is not what the timeout is for.
constexpr std::chrono::duration<double> kAllowance{4};

}  // namespace

BlockingCallGuard::BlockingCallGuard(std::chrono::duration<double> timeout, int rank, std::string call)
    : thread_([this, timeout, rank, call = std::move(call)](const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        condition_.wait_for(lock, stop, timeout + kAllowance, [] { return false; });
        if (stop.stop_requested()) return;
        print_error(rank,
                    fmt::format("{} did not return within {} s: another rank stopped or died", call,
                                (timeout + kAllowance).count()),
                    "its own messages, if any, say why");
        // MPI is busy with the call, so it cannot be asked to end the job; its launcher does when a rank ends like
        // this.
        std::_Exit(static_cast<int>(ExitCode::peer));
      }) {}

}  // namespace bertdist
