// Usage: collective_rounds TIMEOUT ROUNDS [WRONG_RANK WRONG_ROUND]
//
// Runs rounds of all collectives, with a little work in between, through the launcher's own path of errors. In round
// WRONG_ROUND rank WRONG_RANK enters a barrier where the others enter something else. The tests stop and kill its
// ranks.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#include "job.h"

namespace bertdist {
namespace {

struct Plan {
  int rounds = 0;
  int wrong_rank = -1;
  int wrong_round = -1;
};

// run_job takes a function without arguments of its own.
Plan plan;

void run_round(Communicator& communicator, Communicator& part, int round, std::vector<float>& gradients) {
  communicator.progress().set_step(round);
  communicator.progress().enter("forward and backward");
  std::this_thread::sleep_for(std::chrono::milliseconds(round % 5));
  if (communicator.rank() == plan.wrong_rank && round == plan.wrong_round) communicator.barrier("a wrong turn");
  std::fill(gradients.begin(), gradients.end(), 1.0F);
  switch (round % 6) {
    case 0:
    case 1:
      communicator.all_reduce(buffer_of(std::span(gradients)), ReduceOp::sum, "gradients");
      break;
    case 2:
      communicator.broadcast(std::as_writable_bytes(std::span(gradients)), 0, "parameters");
      break;
    case 3:
      communicator.gather_to_root(std::as_bytes(std::span(gradients)), 0, "evaluation logits");
      break;
    case 4:
      communicator.all_gather(std::as_bytes(std::span(gradients)).first(1000), "features");
      break;
    case 5:
      part.all_reduce(buffer_of(std::span(gradients)), ReduceOp::sum, "gradients of a part");
      break;
  }
}

void run_rounds(const Job& job) {
  const std::unique_ptr<Communicator> part = job.communicator.split(job.communicator.rank() % 2, "parts");
  std::vector<float> gradients(150'000);
  if (job.communicator.rank() == 0) std::fprintf(stderr, "running\n");
  for (int round = 1; round <= plan.rounds; ++round) run_round(job.communicator, *part, round, gradients);
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  if (argc != 3 && argc != 5) return 2;
  bertdist::Request request{.command = bertdist::Command::train, .config = {}, .sweep = {}, .trials = {}};
  request.config.comm_timeout_s = std::atof(argv[1]);
  bertdist::plan.rounds = std::atoi(argv[2]);
  if (argc == 5) {
    bertdist::plan.wrong_rank = std::atoi(argv[3]);
    bertdist::plan.wrong_round = std::atoi(argv[4]);
  }
  return bertdist::run_job(request, bertdist::run_rounds);
}
