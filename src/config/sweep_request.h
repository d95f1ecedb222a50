#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/sweep_file.h"

namespace bertdist {

// `bertdist sweep ACTION ...`: what each action was given.
struct SweepRequest {
  SweepAction action = SweepAction::run;
  std::optional<SweepFile> file;  // plan, run
  std::string folder;             // status, best, export: the sweep's
  std::string trials;             // run: a list of indices; empty: all
  std::string curves_file;        // plan: recorded curves to simulate with; empty: none
  std::string output_file;        // plan, export; empty: standard output
};

// From the arguments behind the action. Throws Error(configuration).
SweepRequest parse_sweep_request(SweepAction action, std::vector<std::string> arguments);

}  // namespace bertdist
