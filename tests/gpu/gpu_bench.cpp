// gpu_bench matmul: the rate of bfloat16 matrix products of a BERT's sizes, in FLOP/s.
// gpu_bench all_reduce: of each size, the seconds of one all-reduce among the ranks of the mpirun that started it.
// One JSON object on standard output, from rank 0. For a machine with NVIDIA GPUs: tests/gpu/run.
#include <ATen/ATen.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/nccl/cuda_device.h"
#include "comm/nccl/nccl_world.h"
#include "train/tensor_bytes.h"

namespace bertdist {
namespace {

// The median of several rounds; a round asks the device for all its repetitions before it waits.
template <typename Work>
double seconds_of(int repetitions, Work work) {
  constexpr int kRounds = 9;
  std::vector<double> rounds;
  for (int round = 0; round <= kRounds; ++round) {  // the first one warms up
    check_cuda(cudaDeviceSynchronize(), "waiting for the device");
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < repetitions; ++i) work();
    check_cuda(cudaDeviceSynchronize(), "waiting for the device");
    rounds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / repetitions);
  }
  std::sort(rounds.begin() + 1, rounds.end());
  return rounds[1 + kRounds / 2];
}

nlohmann::json matmul_rate() {
  constexpr std::int64_t kTokens = 16'384, kHidden = 768, kIntermediate = 3072;
  const auto options = at::TensorOptions(at::kBFloat16).device(at::kCUDA);
  double flops = 0, seconds = 0;
  for (const auto& [in, out] :
       {std::pair(kHidden, kHidden), std::pair(kHidden, kIntermediate), std::pair(kIntermediate, kHidden)}) {
    const at::Tensor x = at::randn({kTokens, in}, options), weight = at::randn({out, in}, options);
    seconds += seconds_of(50, [&] { at::linear(x, weight); });
    flops += 2.0 * kTokens * static_cast<double>(in * out);
  }
  return {{"matmul_flops_per_second", flops / seconds}};
}

nlohmann::json all_reduce_times() {
  const MpiSession session;
  const std::unique_ptr<Communicator> world = make_nccl_world(session, {});
  nlohmann::json times = nlohmann::json::array();
  for (const std::int64_t count : {std::int64_t{1} << 20, std::int64_t{1} << 23, std::int64_t{110'000'000}}) {
    const at::Tensor values = at::zeros({count}, at::TensorOptions(at::kFloat).device(at::kCUDA));
    const double seconds =
        seconds_of(10, [&] { world->all_reduce(buffer_of(values), ReduceOp::sum, "values of a benchmark"); });
    times.push_back({{"bytes", 4 * count}, {"seconds", seconds}});
  }
  const nlohmann::json result = {{"ranks", world->world_size()}, {"all_reduce", times}};
  const bool speaks = world->rank() == 0;
  world->leave();
  return speaks ? result : nlohmann::json();
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  using namespace bertdist;
  const std::string_view what = argc == 2 ? argv[1] : "";
  if (what != "matmul" && what != "all_reduce") {
    std::fputs("usage: gpu_bench matmul | all_reduce\n", stderr);
    return 2;
  }
  try {
    const nlohmann::json result = what == "matmul" ? matmul_rate() : all_reduce_times();
    if (!result.is_null()) std::printf("%s\n", result.dump().c_str());
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\nhint: %s\n", error.what(), error.hint().c_str());
    return static_cast<int>(error.code());
  }
}
