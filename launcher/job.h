#pragma once

#include <optional>

#include "base/log.h"
#include "comm/communicator.h"
#include "config/config.h"

namespace bertdist {

// What every command works with. All ranks run the same command.
struct Job {
  const Config& config;
  Communicator& communicator;
  const Log& log;
  int num_threads;  // of this rank
};

struct Request {
  Command command;
  Config config;
};

// Checks the command line, its TOML file and that the data files can be read. Nothing where `exit_code` says it all:
// help or version was printed (0), or an error was. Needs no MPI.
std::optional<Request> parse_request(int argc, char** argv, int& exit_code);

// Brings MPI up, runs `command` on every rank and returns the process's exit code. The one place that catches what a
// command throws: it prints the error and ends all ranks with its code.
int run_job(const Config& config, void (*command)(const Job&));

// Prints "[rank r] error: ..." and the hint, and returns the error's exit code.
int report_failure(int rank, const std::exception& exception);

}  // namespace bertdist
