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

constexpr const char* kUsage =
    "bertdist fine-tunes BERT-family encoders on many ranks.\n"
    "\n"
    "usage: bertdist [COMMAND] [--config FILE] [--KEY VALUE]...\n"
    "       mpirun -np N bertdist [COMMAND] ...\n"
    "\n"
    "commands:\n"
    "  train      fine-tune a model (the default)\n"
    "  prepare    tokenise the data files into the token cache and stop\n"
    "  tokenize   print the token ids of each line of standard input as a JSON array\n"
    "  evaluate   compute the metrics of a model on labelled data\n"
    "  predict    write labels and probabilities for texts\n"
    "\n"
    "bertdist COMMAND --help lists the keys of a command; --version prints the version.\n";

struct Invocation {
  Command command = Command::train;
  std::vector<std::string> arguments;  // without the command's name
};

Invocation parse_invocation(int argc, char** argv) {
  Invocation invocation{.command = Command::train, .arguments = {argv + 1, argv + argc}};
  if (invocation.arguments.empty() || invocation.arguments[0].starts_with("-")) return invocation;
  const std::optional<Command> command = command_from_name(invocation.arguments[0]);
  if (!command) {
    throw Error(ExitCode::configuration, fmt::format("there is no command '{}'", invocation.arguments[0]),
                "the commands are train, prepare, tokenize, evaluate and predict; see bertdist --help");
  }
  invocation.command = *command;
  invocation.arguments.erase(invocation.arguments.begin());
  return invocation;
}

// --help and --version need neither MPI nor a model.
bool answer_help(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto given = [&](std::string_view flag, std::string_view short_flag) {
    return std::ranges::any_of(arguments, [&](const std::string& a) { return a == flag || a == short_flag; });
  };
  if (given("--version", "-V")) {
    fmt::print("bertdist {}\n", BERTDIST_VERSION);
    return true;
  }
  if (arguments.empty()) {
    fmt::print("{}", kUsage);
    return true;
  }
  if (!given("--help", "-h")) return false;
  if (arguments[0].starts_with("-")) fmt::print("{}\n", kUsage);
  fmt::print("{}", help_text(parse_invocation(argc, argv).command));
  return true;
}

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
    if (answer_help(argc, argv)) return 0;
    invocation = parse_invocation(argc, argv);
    config = parse_config(invocation.command, invocation.arguments);
  } catch (const std::exception& exception) {
    return report_failure(launcher_rank(), exception);
  }

  const MpiSession session;
  const std::unique_ptr<Communicator> communicator =
      session.world({.timeout = std::chrono::duration<double>(config.comm_timeout_s)});
  try {
    const Log log(communicator->rank(), communicator->world_size());
    const int num_threads =
        claim_cores(communicator->local_rank(), communicator->local_world_size(), config.num_threads);
    run_command(invocation.command, {config, *communicator, log, num_threads});
    return 0;
  } catch (const std::exception& exception) {
    communicator->abort(report_failure(communicator->rank(), exception));
  }
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  return bertdist::run(argc, argv);
}
