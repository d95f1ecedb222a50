#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace bertdist {

// Records a few steps with libtorch's profiler, operators, phases and a GPU's kernels, and writes them as a trace for
// Perfetto or chrome://tracing. One at a time in a process.
class StepTrace {
 public:
  // Of a training of `num_steps` more steps: the fourth to the sixth of them, or the last ones of a shorter training.
  // Throws Error(output) where the file cannot be written.
  StepTrace(std::filesystem::path file, std::int64_t num_steps, bool on_gpu);
  ~StepTrace();
  StepTrace(const StepTrace&) = delete;
  StepTrace& operator=(const StepTrace&) = delete;

  void begin_step();
  void enter(std::string_view phase);
  // Throws Error(output) where the trace cannot be written, after the last traced step.
  void end_step();

  const std::filesystem::path& file() const { return file_; }
  std::int64_t num_traced_steps() const { return num_traced_; }  // so far, once the file is there

 private:
  struct Span;

  void save();

  std::filesystem::path file_;
  bool on_gpu_;
  std::int64_t first_;
  std::int64_t end_;
  std::int64_t step_ = 0;
  std::int64_t num_traced_ = 0;
  bool is_recording_ = false;
  std::unique_ptr<Span> span_;
};

}  // namespace bertdist
