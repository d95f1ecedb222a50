#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/sweep_file.h"

namespace bertdist {

// `bertdist sweep ACTION ...`: what each action was given.
struct SweepRequest {
  SweepAction action = SweepAction::run;
  std::optional<SweepFile> file;            // plan, run
  std::string folder;                       // status, best, export: the sweep's
  std::string trials;                       // run, submit: a list of indices that the user names; empty: all
  std::string task_trials;                  // run: those of this process's task of a job array; empty: it is in none
  std::int64_t trials_per_task = 1;         // run, submit: of a SLURM job array
  std::vector<std::string> sbatch_options;  // submit
  std::vector<std::string> arguments;       // submit: all but these: the file and its keys
  std::string curves_file;                  // plan: recorded curves to simulate with; empty: none
  std::string output_file;                  // plan, export; empty: standard output
};

// From the arguments behind the action. Throws Error(configuration).
SweepRequest parse_sweep_request(SweepAction action, std::vector<std::string> arguments);

}  // namespace bertdist
