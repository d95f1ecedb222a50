#include "debugging/step_trace.h"

#include <ATen/record_function.h>
#include <fmt/core.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"

namespace bertdist {
namespace fs = std::filesystem;
namespace profiler = torch::autograd::profiler;
namespace impl = torch::profiler::impl;

namespace {

std::set<impl::ActivityType> activities(bool on_gpu) {
  std::set<impl::ActivityType> found = {impl::ActivityType::CPU};
  if (on_gpu) found.insert(impl::ActivityType::CUDA);
  return found;
}

impl::ProfilerConfig profiler_config() {
  return impl::ProfilerConfig(impl::ProfilerState::KINETO, /*report_input_shapes=*/true);
}

void require_writable(const fs::path& file) {
  if (file.has_parent_path()) make_directories(file.parent_path());
  if (std::ofstream(file, std::ios::app)) return;
  throw Error(ExitCode::output, fmt::format("cannot write the trace '{}'", file.string()),
              "choose another file as debug.trace");
}

}  // namespace

struct StepTrace::Span {
  explicit Span(std::string_view name) : function(at::RecordScope::USER_SCOPE) { function.before(name); }
  at::RecordFunction function;
};

StepTrace::StepTrace(fs::path file, std::int64_t num_steps, bool on_gpu)
    : file_(std::move(file)),
      on_gpu_(on_gpu),
      first_(std::clamp<std::int64_t>(num_steps - 3, 0, 3)),
      end_(std::min(first_ + 3, num_steps)) {
  require_writable(file_);
  ::setenv("KINETO_LOG_LEVEL", "99", /*overwrite=*/0);  // its notes are not for the user
}

StepTrace::~StepTrace() {
  span_.reset();
  if (is_recording_) profiler::disableProfiler();
}

void StepTrace::begin_step() {
  if (step_ != first_ || end_ == first_) return;
  profiler::prepareProfiler(profiler_config(), activities(on_gpu_));
  profiler::enableProfiler(profiler_config(), activities(on_gpu_));
  is_recording_ = true;
}

void StepTrace::enter(std::string_view phase) {
  span_.reset();
  if (is_recording_) span_ = std::make_unique<Span>(phase);
}

void StepTrace::end_step() {
  span_.reset();
  if (++step_ == end_ && is_recording_) save();
}

void StepTrace::save() {
  is_recording_ = false;
  const std::unique_ptr<profiler::ProfilerResult> result = profiler::disableProfiler();
  result->save(file_.string());
  std::error_code error;
  if (fs::file_size(file_, error) == 0 || error) {
    throw Error(ExitCode::output, fmt::format("cannot write the trace '{}'", file_.string()),
                "the disk or the quota may be full");
  }
  num_traced_ = end_ - first_;
}

}  // namespace bertdist
