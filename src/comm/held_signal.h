#pragma once

#include <csignal>
#include <cstdint>

namespace bertdist {

// While one exists SIGTERM is held back: it is noted, and given to the handler that was there before, which may end the
// process, when this goes. One at a time in a process.
class HeldSigterm {
 public:
  HeldSigterm();
  ~HeldSigterm();
  HeldSigterm(const HeldSigterm&) = delete;
  HeldSigterm& operator=(const HeldSigterm&) = delete;

  // Whether it came while the last one existed. On any thread.
  static bool came();

 private:
  struct sigaction previous_ = {};
};

}  // namespace bertdist
