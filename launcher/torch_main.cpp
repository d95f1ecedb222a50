#include "base/error.h"
#include "commands.h"

namespace bertdist {

namespace {

int run(int argc, char** argv) {
  int exit_code = 0;
  const std::optional<Request> request = parse_request(argc, argv, exit_code);
  if (!request) return exit_code;
  switch (request->command) {
    case Command::train:
      return run_job(request->config, run_train);
    case Command::evaluate:
      return run_job(request->config, run_evaluate);
    case Command::predict:
      return run_job(request->config, run_predict);
    case Command::prepare:
    case Command::tokenize:
      break;
  }
  return report_failure(0, Error(ExitCode::configuration, "bertdist-torch does not prepare or tokenize",
                                 "start bertdist, which runs bertdist-torch where that is needed"));
}

}  // namespace

}  // namespace bertdist

int main(int argc, char** argv) {
  return bertdist::run(argc, argv);
}
