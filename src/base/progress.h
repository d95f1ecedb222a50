#pragma once

#include <cstdint>
#include <string_view>

namespace bertdist {

// A rank's account of where it is, for the ranks that wait for it: they bear with it as long as it goes on, and say
// where it was last seen when it does not. Whoever works for longer than a second or so between two collectives is
// handed one and says so.
class Progress {
 public:
  virtual ~Progress() = default;

  // Begins a piece of work, such as "writing checkpoint-12"; the first 47 bytes are kept. A sign of progress. For the
  // rank's main thread. Like advance(), throws Error(peer) where another rank has found a peer to be missing: what is
  // under way cannot be finished by all.
  virtual void enter(std::string_view activity) = 0;
  // The optimiser step that is under way, counted from 1; 0 outside of training. For the rank's main thread.
  virtual void set_step(std::int64_t step) = 0;
  // A sign that the work goes on: something was read, computed or written since the last one. Takes well below a
  // microsecond, so call it as often as is convenient. On any thread of the rank; on others than the main thread it
  // never throws.
  virtual void advance() = 0;
};

}  // namespace bertdist
