#include "base/error.h"
#include "commands.h"
#include "device_world.h"
#include "torch_setup.h"

int main(int argc, char** argv) {
  using namespace bertdist;
  return run_program(argc, argv, [](const Request& request) {
    const auto run = [&](const std::function<void(const Job&)>& command) {
      return run_job(
          request, [&](const Job& job) { without_trace([&] { command(job); }); }, world_on_device_of(request.config));
    };
    switch (request.command) {
      case Command::train:
        return run(run_train);
      case Command::evaluate:
        return run(run_evaluate);
      case Command::predict:
        return run(run_predict);
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
