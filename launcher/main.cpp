#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "commands.h"
#include "threads.h"

namespace bertdist {
namespace {

void run_command(Command command, const Job& job) {
  switch (command) {
    case Command::train:
      return run_train(job);
    case Command::prepare:
      return run_prepare(job);
    case Command::tokenize:
      return run_tokenize(job);
    case Command::evaluate:
      return run_evaluate(job);
    case Command::predict:
      return run_predict(job);
  }
}

void print_error(int rank, std::string_view message, std::string_view hint) {
  std::string text = fmt::format("[rank {}] error: {}\n", rank, message);
  if (!hint.empty()) text += fmt::format("[rank {}] hint: {}\n", rank, hint);
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

// Prints a failure and returns its exit code. Where all ranks fail alike, rank 0 is to be the one that says so: it ends
// the job before the others, who wait a moment, have spoken.
int report_failure(int rank, const std::exception& exception) {
  if (rank != 0) std::this_thread::sleep_for(std::chrono::seconds(1));
  if (const auto* error = dynamic_cast<const Error*>(&exception)) {
    print_error(rank, error->what(), error->hint());
    return static_cast<int>(error->code());
  }
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr) {
    print_error(rank, "out of memory", "lower the batch sizes or max_seq_length, or use fewer ranks on a host");
    return static_cast<int>(ExitCode::device);
  }
  print_error(rank, exception.what(), "this is a defect of bertdist: please report it with the command that led here");
  return static_cast<int>(ExitCode::internal);
}

// The rank as the launcher gives it, for messages before MPI is up.
int launcher_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* rank = std::getenv(variable)) return std::atoi(rank);
  }
  return 0;
}

int run(int argc, char** argv) {
  Invocation invocation;
  Config config;
  try {
    invocation = parse_invocation({argv + 1, argv + argc});
    if (invocation.version) {
      fmt::print("bertdist {}\n", BERTDIST_VERSION);
      return 0;
    }
    if (invocation.help || argc == 1) {
      fmt::print("{}", help_text(invocation.command));
      return 0;
    }
    config = parse_config(invocation.command, invocation.arguments);
  } catch (const std::exception& exception) {
    return report_failure(launcher_rank(), exception);
  }

  const MpiSession session;
  const std::unique_ptr<Communicator> communicator =
      session.world({.timeout = std::chrono::duration<double>(config.comm_timeout_s)});
  int exit_code = 0;
  try {
    const Log log(communicator->rank(), communicator->world_size());
    const int num_threads =
        claim_cores(communicator->local_rank(), communicator->local_world_size(), config.num_threads);
    run_command(invocation.command, {config, *communicator, log, num_threads});
  } catch (const std::exception& exception) {
    exit_code = report_failure(communicator->rank(), exception);
  }
  // The peers may be waiting for this rank: only an abort ends them too.
  if (exit_code != 0) communicator->abort(exit_code);
  return 0;
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  return bertdist::run(argc, argv);
}
