#include <c10/util/Exception.h>

#include <string>

#include "base/error.h"
#include "commands.h"

namespace bertdist {

namespace {

// libtorch's errors carry a trace of its own stack, which tells a user nothing.
template <void (*command)(const Job&)>
void without_trace(const Job& job) {
  try {
    command(job);
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    if (message.find("memory") == message.npos) throw std::runtime_error("libtorch: " + message);
    throw Error(ExitCode::device, "out of memory: " + message,
                "lower the batch sizes or max_seq_length, or use fewer ranks on a host");
  }
}

}  // namespace

}  // namespace bertdist

int main(int argc, char** argv) {
  using namespace bertdist;
  return run_program(argc, argv, [](const Request& request) {
    switch (request.command) {
      case Command::train:
        return run_job(request.config, without_trace<run_train>);
      case Command::evaluate:
        return run_job(request.config, without_trace<run_evaluate>);
      case Command::predict:
        return run_job(request.config, without_trace<run_predict>);
      case Command::sweep:
        throw Error(ExitCode::configuration, "this version of bertdist plans sweeps, but does not run them yet",
                    "bertdist sweep plan lists the trials");
      case Command::prepare:
      case Command::tokenize:
        break;
    }
    throw Error(ExitCode::configuration, "bertdist-torch does not prepare or tokenize",
                "start bertdist, which runs bertdist-torch where that is needed");
  });
}
