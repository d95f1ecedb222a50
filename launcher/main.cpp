#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "commands.h"
#include "device.h"

namespace bertdist {

namespace {

// libtorch takes longer to load than `bertdist --help` or a wrong key should take to answer, so what needs it is a
// program of its own, beside this one. Never returns.
[[noreturn]] void become_torch_program(char** argv) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("bertdist-torch");
  ::execv(program.c_str(), argv);
  throw Error(ExitCode::internal, "cannot start '" + program + "': " + std::strerror(errno),
              "bertdist and bertdist-torch belong into one folder; build or install both");
}

}  // namespace

}  // namespace bertdist

int main(int argc, char** argv) {
  using namespace bertdist;
  return run_program(argc, argv, [&](const Request& request) {
    switch (request.command) {
      case Command::prepare:
        return run_job(request, run_prepare);
      case Command::tokenize:
        return run_job(request, run_tokenize);
      case Command::sweep:
        if (request.sweep->action == SweepAction::run) break;
        if (request.sweep->action == SweepAction::submit)
          return run_job(request, [&](const Job& job) { submit_sweep(job, *request.sweep, request.trials); });
        return run_alone([&] { report_sweep(request); });
      case Command::train:
      case Command::evaluate:
      case Command::predict:
      case Command::replay:
        break;
    }
    require_fitting_device(request.config);
    become_torch_program(argv);
  });
}
