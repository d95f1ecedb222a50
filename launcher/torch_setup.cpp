#include "torch_setup.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "model/frozen_encoder.h"

namespace bertdist {

void use_threads(int num_threads) {
  at::set_num_threads(num_threads);
}

namespace {

at::ScalarType frozen_dtype(const Job& job) {
  if (job.config.dtype != "auto") return inference_dtype(job.config);
  std::int64_t lacking = processor_multiplies_bfloat16() ? 0 : 1;
  job.communicator.all_reduce(buffer_of(std::span(&lacking, 1)), ReduceOp::max, "processors without bfloat16");
  return lacking == 0 ? at::kBFloat16 : at::kFloat;
}

// Rank 0 writes there. A folder that is missing still is made later.
bool token_cache_is_writable(const Job& job) {
  std::int64_t refused = 0;
  if (job.communicator.rank() == 0) {
    refused = ::access(job.config.token_cache_dir.c_str(), W_OK | X_OK) != 0 && errno != ENOENT ? 1 : 0;
  }
  job.communicator.broadcast(std::as_writable_bytes(std::span(&refused, 1)), 0, "whether the cache can be written");
  return refused == 0;
}

}  // namespace

at::ScalarType inference_dtype(const Config& config) {
  return config.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

FrozenPassOptions frozen_pass_options(const Job& job) {
  return {.dtype = frozen_dtype(job),
          .cache_dir = job.config.token_cache_dir,
          .max_cache_bytes = 1e9 * job.config.feature_cache_max_gb,
          .may_write = token_cache_is_writable(job)};
}

void rethrow_without_trace(const c10::Error& error) {
  const std::string message = error.what_without_backtrace();
  if (message.find("memory") == message.npos) throw std::runtime_error("libtorch: " + message);
  throw Error(ExitCode::device, "out of memory: " + message,
              "lower the batch sizes or max_seq_length, or use fewer ranks on a host");
}

}  // namespace bertdist
