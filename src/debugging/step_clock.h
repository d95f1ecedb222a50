#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace bertdist {

// What a training step spends its time with. A head that is trained alone has its forward and backward in one.
// `checks` are debug mode's own.
enum class StepPhase { data, forward, backward, forward_backward, reduce, optimizer, checks };
constexpr std::size_t kNumStepPhases = 7;

std::string_view name_of(StepPhase phase);

// Adds up what the phases of a training's steps take. The first steps, in which memory is allocated and caches are
// cold, are left out where there are others.
class StepClock {
 public:
  void begin_step();
  void enter(StepPhase phase);  // ends the one before
  void end_step();

  // Each phase that there was: mean milliseconds a step, and share. Empty before the first step has ended.
  std::string table() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Sum {
    std::array<double, kNumStepPhases> seconds{};
    std::int64_t num_steps = 0;
  };

  Sum& current() { return warm_up_.num_steps < kNumWarmUpSteps ? warm_up_ : rest_; }

  static constexpr std::int64_t kNumWarmUpSteps = 3;
  Sum warm_up_;
  Sum rest_;
  StepPhase phase_ = StepPhase::data;
  Clock::time_point since_;
};

}  // namespace bertdist
