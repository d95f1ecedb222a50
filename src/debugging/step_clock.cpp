#include "debugging/step_clock.h"

#include <fmt/format.h>

#include <numeric>

#include "report/table.h"

namespace bertdist {

std::string_view name_of(StepPhase phase) {
  constexpr std::array<std::string_view, kNumStepPhases> kNames = {
      "data", "forward", "backward", "forward and backward", "reduce", "optimizer", "debug mode's checks"};
  return kNames[static_cast<std::size_t>(phase)];
}

void StepClock::begin_step() {
  phase_ = StepPhase::data;
  since_ = Clock::now();
}

void StepClock::enter(StepPhase phase) {
  const Clock::time_point now = Clock::now();
  current().seconds[static_cast<std::size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
  phase_ = phase;
  since_ = now;
}

void StepClock::end_step() {
  enter(StepPhase::data);
  ++current().num_steps;
}

std::string StepClock::table() const {
  const Sum& sum = rest_.num_steps > 0 ? rest_ : warm_up_;
  if (sum.num_steps == 0) return "";
  const double total = std::accumulate(sum.seconds.begin(), sum.seconds.end(), 0.0);
  TablePrinter table({{"phase of a step"}, {"mean ms", Align::right}, {"share", Align::right}});
  const auto add = [&](std::string_view name, double seconds) {
    table.add_row({std::string(name), fmt::format("{:.3f}", 1e3 * seconds / static_cast<double>(sum.num_steps)),
                   fmt::format("{:.1f} %", total > 0 ? 100 * seconds / total : 0)});
  };
  for (std::size_t phase = 0; phase < kNumStepPhases; ++phase) {
    if (sum.seconds[phase] > 0) add(name_of(static_cast<StepPhase>(phase)), sum.seconds[phase]);
  }
  add("all", total);
  return fmt::format("{}{}{}\n", table.to_string(), counted(sum.num_steps, "step"),
                     rest_.num_steps > 0 ? fmt::format(", without the first {}", kNumWarmUpSteps) : "");
}

}  // namespace bertdist
