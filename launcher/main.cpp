#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "commands.h"

namespace bertdist {

namespace {

// Threads that wait for one another spin for this many rounds before they sleep: long enough for the short gaps between
// operators, short enough not to starve others where cores are shared. libgomp reads it while it is loaded.
constexpr const char* kSpinCount = "20000";

// libtorch takes longer to load than `bertdist --help` or a wrong key should take to answer, so what needs it is a
// program of its own, beside this one. Returns only on failure.
int become_torch_program(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", kSpinCount, /*overwrite=*/0);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("bertdist-torch");
  ::execv(program.c_str(), argv);
  return report_failure(0, Error(ExitCode::internal, "cannot start '" + program + "': " + std::strerror(errno),
                                 "bertdist and bertdist-torch belong into one folder; build or install both"));
}

int run(int argc, char** argv) {
  int exit_code = 0;
  const std::optional<Request> request = parse_request(argc, argv, exit_code);
  if (!request) return exit_code;
  switch (request->command) {
    case Command::prepare:
      return run_job(request->config, run_prepare);
    case Command::tokenize:
      return run_job(request->config, run_tokenize);
    case Command::train:
    case Command::evaluate:
    case Command::predict:
      return become_torch_program(argv);
  }
  return static_cast<int>(ExitCode::internal);
}

}  // namespace

}  // namespace bertdist

int main(int argc, char** argv) {
  return bertdist::run(argc, argv);
}
