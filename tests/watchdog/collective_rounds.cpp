// Usage: collective_rounds TIMEOUT ROUNDS [WRONG_RANK WRONG_ROUND]
//        nccl_rounds TIMEOUT ROUNDS [WRONG_RANK WRONG_ROUND]
//
// Runs rounds of all collectives, with a little work in between, through the launcher's own path of errors. In round
// WRONG_ROUND rank WRONG_RANK enters a barrier where the others enter something else. The tests stop and kill its
// ranks. nccl_rounds is the same over NcclCommunicator, on GPUs or on their stand-in: gradients and parameters lie in
// device memory.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#include "device_world.h"
#include "job.h"

#ifdef BERTDIST_CUDA
#include "comm/device_memory.h"
#endif

namespace bertdist {
namespace {

#ifdef BERTDIST_CUDA
constexpr const char* kDevice = "cuda";

class Tensor {
 public:
  explicit Tensor(std::size_t size) : values_(size, 1.0F), copy_(buffer_of(std::span(values_)), stream_) {}
  Buffer buffer() { return copy_.buffer(); }
  Buffer part(std::size_t index) {
    return {static_cast<float*>(buffer().data) + 50'000 * index, 50'000, DType::float32, Memory::device, stream_};
  }
  // By the communicator, or by a call to CUDA that knows of no peer.
  void wait(Communicator& communicator, int round) {
    round % 4 < 2 ? communicator.synchronize("loss") : check_cuda(cudaStreamSynchronize(stream_), "test");
  }

 private:
  std::vector<float> values_;
  TestStream stream_;
  DeviceCopy copy_;
};
#else
constexpr const char* kDevice = "cpu";

class Tensor {
 public:
  explicit Tensor(std::size_t size) : values_(size, 1.0F) {}
  Buffer buffer() { return buffer_of(std::span(values_)); }
  Buffer part(std::size_t index) { return buffer_of(std::span(values_).subspan(50'000 * index, 50'000)); }
  void wait(Communicator&, int) {}

 private:
  std::vector<float> values_;
};
#endif

struct Plan {
  int rounds = 0;
  int wrong_rank = -1;
  int wrong_round = -1;
};

// run_job takes a function without arguments of its own.
Plan plan;

// As in backward, which computes while it starts them.
void reduce_in_buckets(AllReduceQueue& queue, Tensor& gradients) {
  for (const std::size_t bucket : {2, 1, 0}) {
    queue.start(gradients.part(bucket), ReduceOp::sum, "gradient bucket " + std::to_string(3 - bucket) + " of 3");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  queue.finish();
}

void run_round(Communicator& communicator, AllReduceQueue& queue, Communicator& part, int round, Tensor& gradients,
               std::span<const std::byte> bytes) {
  communicator.progress().set_step(round);
  communicator.progress().enter("forward and backward");
  std::this_thread::sleep_for(std::chrono::milliseconds(round % 5));
  if (communicator.rank() == plan.wrong_rank && round == plan.wrong_round) communicator.barrier("a wrong turn");
  switch (round % 6) {
    case 0:
      communicator.all_reduce(gradients.buffer(), ReduceOp::sum, "gradients");
      break;
    case 1:
      reduce_in_buckets(queue, gradients);
      break;
    case 2:
      communicator.broadcast(gradients.buffer(), 0, "parameters");
      break;
    case 3:
      communicator.gather_to_root(bytes, 0, "evaluation logits");
      break;
    case 4:
      communicator.all_gather(bytes.first(1000), "features");
      break;
    case 5:
      part.all_reduce(gradients.buffer(), ReduceOp::sum, "gradients of a part");
      break;
  }
  gradients.wait(round % 6 == 5 ? part : communicator, round);
}

void run_rounds(const Job& job) {
  const std::unique_ptr<Communicator> part = job.communicator.split(job.communicator.rank() % 2, "parts");
  const std::unique_ptr<AllReduceQueue> queue = job.communicator.make_all_reduce_queue();
  Tensor gradients(150'000);
  const std::vector<std::byte> bytes(600'000);
  if (job.communicator.rank() == 0) std::fprintf(stderr, "running\n");
  for (int round = 1; round <= plan.rounds; ++round) {
    run_round(job.communicator, *queue, *part, round, gradients, bytes);
  }
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  if (argc != 3 && argc != 5) return 2;
  bertdist::Request request{.command = bertdist::Command::train, .config = {}, .sweep = {}, .trials = {}, .replay = {}};
  request.config.comm_timeout_s = std::atof(argv[1]);
  bertdist::plan.rounds = std::atoi(argv[2]);
  if (argc == 5) {
    bertdist::plan.wrong_rank = std::atoi(argv[3]);
    bertdist::plan.wrong_round = std::atoi(argv[4]);
  }
  request.config.device = bertdist::kDevice;
  return bertdist::run_job(request, bertdist::run_rounds, bertdist::world_on_device(request.config.device == "cuda"));
}
