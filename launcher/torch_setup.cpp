#include "torch_setup.h"

#include <ATen/Parallel.h>

#include <cstdint>
#include <span>

#include "model/frozen_encoder.h"

namespace bertdist {

void use_threads(int num_threads) {
  at::set_num_threads(num_threads);
}

at::ScalarType forward_dtype(const Job& job) {
  if (job.config.dtype != "auto") return job.config.dtype == "float32" ? at::kFloat : at::kBFloat16;
  std::int64_t lacking = processor_multiplies_bfloat16() ? 0 : 1;
  job.communicator.all_reduce(buffer_of(std::span(&lacking, 1)), ReduceOp::max, "processors without bfloat16");
  return lacking == 0 ? at::kBFloat16 : at::kFloat;
}

}  // namespace bertdist
