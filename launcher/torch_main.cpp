#include "base/error.h"
#include "commands.h"
#include "device.h"
#include "device_world.h"
#include "torch_setup.h"

int main(int argc, char** argv) {
  using namespace bertdist;
  return run_program(argc, argv, [](const Request& request) {
    // Sweeps train many small models, in ways that are the CPU's own.
    const bool on_gpu = request.command != Command::sweep && computes_on_gpu(request.config);
    const auto run = [&](const std::function<void(const Job&)>& command) {
      const auto command_on_device = [&](const Job& job) {
        Job placed = job;
        if (on_gpu) placed.gpu = find_gpu(job.communicator);
        without_trace(placed, [&] { command(placed); });
      };
      return run_job(request, command_on_device, world_on_device(on_gpu));
    };
    switch (request.command) {
      case Command::train:
        return run(run_train);
      case Command::evaluate:
        return run(run_evaluate);
      case Command::predict:
        return run(run_predict);
      case Command::replay:
        return run([&](const Job& job) { run_replay(job, *request.replay); });
      case Command::sweep:
        return run([&](const Job& job) { run_sweep(job, *request.sweep, request.trials); });
      case Command::prepare:
      case Command::tokenize:
        break;
    }
    throw Error(ExitCode::configuration, "bertdist-torch does not prepare or tokenize",
                "start bertdist, which runs bertdist-torch where that is needed");
  });
}
