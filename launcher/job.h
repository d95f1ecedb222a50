#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/log.h"
#include "comm/communicator.h"
#include "comm/launch_environment.h"
#include "config/config.h"
#include "config/replay_request.h"
#include "config/sweep_request.h"
#include "gpu.h"
#include "sweep/trials.h"

namespace bertdist {

// What every command works with. All ranks run the same command.
struct Job {
  const Config& config;
  Communicator& communicator;
  const LaunchEnvironment& launch;
  const Log& log;
  int num_threads;              // of this rank
  std::optional<Gpu> gpu = {};  // where the model is; nothing: in host memory
};

struct Request {
  Command command;
  Config config;                        // of a sweep that is planned or run: its first trial's; of a replay: the run's
  std::optional<SweepRequest> sweep;    // only for Command::sweep
  std::vector<Trial> trials;            // of a sweep that is planned or run
  std::optional<ReplayRequest> replay;  // only for Command::replay
};

// What main does: checks the command line, its TOML file and that the data files can be read, none of which needs MPI,
// and returns what `dispatch` makes of the request, or the exit code of help, version or an error.
int run_program(int argc, char** argv, const std::function<int(const Request&)>& dispatch);

using MakeWorld = std::function<std::unique_ptr<Communicator>(const MpiSession&, const CommunicatorOptions&)>;

// Brings MPI up, checks that all ranks were asked for the same, runs `command` on every rank and returns the process's
// exit code. The one place that catches what a command throws: it prints the error and ends all ranks with its code.
// `make_world` makes a communicator of all ranks other than MpiSession::world's.
int run_job(const Request& request, const std::function<void(const Job&)>& command,
            const MakeWorld& make_world = &MpiSession::world);

// Runs what needs no MPI and returns the process's exit code, as run_job does.
int run_alone(const std::function<void()>& command);

}  // namespace bertdist
