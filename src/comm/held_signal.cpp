#include "comm/held_signal.h"

#include <atomic>

namespace bertdist {

namespace {

// A handler is given nothing but the signal's number, so what it writes has to be global.
std::atomic<bool> sigterm_came{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not wait for a lock");

extern "C" void note_sigterm(int) {
  sigterm_came = true;
}

}  // namespace

HeldSigterm::HeldSigterm() {
  sigterm_came = false;
  struct sigaction action = {};
  action.sa_handler = note_sigterm;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &previous_);
}

HeldSigterm::~HeldSigterm() {
  sigaction(SIGTERM, &previous_, nullptr);
  if (sigterm_came.exchange(false)) raise(SIGTERM);
}

bool HeldSigterm::came() {
  return sigterm_came;
}

}  // namespace bertdist
