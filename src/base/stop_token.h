#pragma once

#include <csignal>
#include <optional>
#include <string_view>

namespace bertdist {

// Whether this process was asked to stop: SIGUSR1 (a scheduler's notice) or SIGTERM. While one exists, these signals
// end nothing: they are noted, and whoever works looks between two pieces of work. One at a time in a process; it must
// be made where signals are handled by nobody else, and puts the previous handlers back when it goes.
class StopToken {
 public:
  StopToken();
  ~StopToken();
  StopToken(const StopToken&) = delete;
  StopToken& operator=(const StopToken&) = delete;

  // The first of the two signals that came, by its name; nothing while none has.
  std::optional<std::string_view> signal() const;

 private:
  struct sigaction previous_usr1_ = {};
  struct sigaction previous_term_ = {};
};

}  // namespace bertdist
