#pragma once

#include <functional>

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

// What main does: checks the command line, its TOML file and that the data files can be read, none of which needs MPI,
// and returns what `dispatch` makes of the request, or the exit code of help, version or an error.
int run_program(int argc, char** argv, const std::function<int(const Request&)>& dispatch);

// Brings MPI up, runs `command` on every rank and returns the process's exit code. The one place that catches what a
// command throws: it prints the error and ends all ranks with its code.
int run_job(const Config& config, void (*command)(const Job&));

}  // namespace bertdist
