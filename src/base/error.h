#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace bertdist {

// The process's exit code for each class of failure; docs/errors.md describes each for users.
enum class ExitCode : int {
  success = 0,
  internal = 1,       // a defect of bertdist, or an exception that nobody gave a class
  configuration = 2,  // command line or TOML file: unknown key, wrong type, options that exclude each other
  data = 3,           // input text, labels or token cache: missing, unreadable, damaged, empty
  model = 4,          // config.json, weights or tokenizer: missing, unreadable, damaged, not fitting together
  output = 5,         // output folder or file: not empty, not writable, disk full
  communication = 6,  // ranks disagree about files or options, or MPI failed
  numeric = 7,        // the loss or a gradient is not finite
  device = 8,         // no such device, or it ran out of memory
  preempted = 9,      // a signal asked it to stop: it saved a checkpoint and can go on from there
  peer = 10,          // another rank stopped or died, or entered another collective than this one
  overfit = 11,       // debug.overfit_batches: the loss of a few batches did not go to 0
  gradient = 12,      // debug.check_gradients: a gradient is not that of the loss
};

// Every failure that a user can cause or cure. `message` says what is wrong and where; `hint` what to do about it.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message, std::string hint = "")
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  ExitCode code() const { return code_; }
  const std::string& hint() const { return hint_; }

 private:
  ExitCode code_;
  std::string hint_;
};

}  // namespace bertdist
