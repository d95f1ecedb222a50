#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace bertdist {

// Where progress goes and how; the default is standard error as it is.
struct ProgressSink {
  bool is_terminal;
  std::size_t columns;  // width of the terminal; longer lines are cut, since a wrapped line cannot be rewritten
  std::function<void(std::string_view)> write;
  std::function<std::chrono::steady_clock::time_point()> now;
};

// Standard error. Counts as a terminal under mpirun too when mpirun, which copies the ranks' standard error to its own,
// writes to one.
ProgressSink standard_error_sink();

struct TrainingProgress {
  std::int64_t epoch = 0;  // counted from 1
  std::int64_t num_epochs = 0;
  std::int64_t step = 0;  // done, over all epochs
  std::int64_t num_steps = 0;
  double loss = 0;
  std::int64_t num_tokens = 0;  // seen by all ranks since the ProgressLine was made
};

// How far the training is: `epoch 3/10  step 412/2630  loss 0.3521  12,345 tokens/s  ETA 0:42`. On a terminal one line,
// rewritten in place ten times a second at most; elsewhere a new line every tenth of the run or every minute, never
// within five seconds of the last one. For rank 0 alone; the other ranks make none.
class ProgressLine {
 public:
  // `first_step`: the steps done before, by the run that this one resumes; speed and ETA leave them out.
  explicit ProgressLine(std::int64_t first_step = 0, ProgressSink sink = standard_error_sink());

  // To be called after every step.
  void update(const TrainingProgress& progress);

  // Takes the line off the terminal so that something else can be printed; the next update brings it back.
  void clear();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  bool is_due(const TrainingProgress& progress, TimePoint now) const;
  std::string text(const TrainingProgress& progress, TimePoint now) const;

  ProgressSink sink_;
  std::int64_t first_step_;
  TimePoint start_;
  std::optional<TimePoint> last_print_;
  std::int64_t last_tenth_ = 0;
  bool visible_ = false;
};

// 42 s -> "0:42", 3723 s -> "1:02:03"
std::string format_duration(std::chrono::seconds duration);

}  // namespace bertdist
