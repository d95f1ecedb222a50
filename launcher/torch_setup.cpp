#include "torch_setup.h"

#include <ATen/Parallel.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "model/device_memory.h"
#include "model/frozen_encoder.h"

namespace bertdist {

int use_threads(const Job& job) {
  const int num_threads = job.gpu ? 1 : job.num_threads;
  at::set_num_threads(num_threads);
  return num_threads;
}

namespace {

DeviceMath math_of(const Gpu& gpu, at::ScalarType wanted, std::int64_t head_dim) {
  return cuda_math({gpu.major, gpu.minor}, wanted, head_dim);
}

at::ScalarType frozen_dtype(const Job& job) {
  if (job.gpu) return training_dtype(job);
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

at::ScalarType training_dtype(const Job& job) {
  if (!job.gpu) return inference_dtype(job.config);
  return math_of(*job.gpu, job.config.dtype == "float32" ? at::kFloat : at::kBFloat16, /*head_dim=*/0).matmul_dtype;
}

void place_model(const Job& job, BertForSequenceClassification& model, at::ScalarType dtype) {
  if (!job.gpu) {
    model.set_matmul_dtype(dtype);
    return;
  }
  const DeviceMath math = math_of(*job.gpu, dtype, model.config().head_dim());
  model.use_device(device_of(*job.gpu), math);
  if (job.gpu->major < 8) {
    job.log.info("compute capability {}.{} is below 8.0, so there is no bfloat16 and no flash attention: float32",
                 job.gpu->major, job.gpu->minor);
  }
}

FrozenPassOptions frozen_pass_options(const Job& job) {
  return {.dtype = frozen_dtype(job),
          .cache_dir = job.config.token_cache_dir,
          .max_cache_bytes = 1e9 * job.config.feature_cache_max_gb,
          .may_write = token_cache_is_writable(job)};
}

namespace {

// By their names: an "illegal memory access" is a defect.
bool is_out_of_memory(const c10::Error& error, const std::string& message) {
  constexpr std::array kTold = {"out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED"};
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         std::any_of(kTold.begin(), kTold.end(), [&](const char* text) { return message.find(text) != message.npos; });
}

}  // namespace

void rethrow_without_trace(const Job& job, const c10::Error& error) {
  const std::string message = error.what_without_backtrace();
  if (!is_out_of_memory(error, message)) throw std::runtime_error("libtorch: " + message);
  if (job.gpu) {
    throw Error(
        ExitCode::device,
        fmt::format("out of memory on CUDA device {}, {}: {}; libtorch says: {}", job.gpu->index, job.gpu->name,
                    device_memory(device_of(*job.gpu)).to_string(), message),
        "lower per_device_train_batch_size, or raise gradient_accumulation_steps where global_batch_size is set; "
        "lower per_device_eval_batch_size or max_seq_length; nvidia-smi shows what others have on this device");
  }
  throw Error(ExitCode::device, "out of memory: " + message,
              "lower the batch sizes or max_seq_length, or use fewer ranks on a host");
}

}  // namespace bertdist
