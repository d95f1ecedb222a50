#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/given.h"
#include "config/sweep_spec.h"

namespace bertdist {

// A TOML file with a [sweep] table. Its other keys, with the command line's over them, are what all trials have in
// common.
class SweepFile {
 public:
  // From `--config FILE --key value ...`. Throws Error(configuration), also where the command line sets a parameter of
  // the sweep.
  explicit SweepFile(const std::vector<std::string>& arguments);

  const SweepSpec& spec() const { return spec_; }
  const std::string& output_dir() const { return output_dir_; }

  // The complete and checked configuration of a trial: the common keys, then `parameters`. Without a
  // metric_for_best_model of its own a trial keeps the model that is best by the sweep's metric. Throws
  // Error(configuration) whose message begins with `trial_name`.
  Config trial_config(const std::string& trial_name, const std::vector<Assignment>& parameters,
                      const std::string& trial_output_dir) const;

  // The same sweep as a file of its own: the command line's keys are in it.
  std::string to_toml() const;

 private:
  void read_common(Config& config, Given& given) const;

  std::string file_;
  std::string text_;  // the file's
  CommandLine command_line_;
  SweepSpec spec_;
  std::string output_dir_;
};

// Whether the arguments name a --config file that has a [sweep] table.
bool has_sweep_table(const std::vector<std::string>& arguments);

}  // namespace bertdist
