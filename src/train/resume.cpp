#include "train/resume.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

// The effective configuration has one option a line: name = value.
std::map<std::string, std::string> options_of(std::istream& config_toml) {
  std::map<std::string, std::string> options;
  for (std::string line; std::getline(config_toml, line);) {
    const std::size_t equals = line.find(" = ");
    if (equals != line.npos && !line.starts_with('#')) options[line.substr(0, equals)] = line.substr(equals + 3);
  }
  return options;
}

std::vector<std::string> changed_options(const fs::path& checkpoint, const std::string& config_toml) {
  const std::set<std::string> expected = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint"};
  std::ifstream saved_file(checkpoint / "config.toml");
  const std::map<std::string, std::string> saved = options_of(saved_file);
  std::istringstream current_text(config_toml);
  const std::map<std::string, std::string> current = options_of(current_text);
  std::set<std::string> names;
  for (const auto& options : {saved, current}) {
    for (const auto& [name, value] : options) names.insert(name);
  }
  std::vector<std::string> changes;
  for (const std::string& name : names) {
    const auto text = [&](const auto& options) { return options.contains(name) ? options.at(name) : "unset"; };
    if (saved.empty() || expected.contains(name) || name.starts_with("debug.") || text(saved) == text(current))
      continue;
    changes.push_back(fmt::format("{}: {}, now {}", name, text(saved), text(current)));
  }
  return changes;
}

std::string machine(const RunIdentity& identity) {
  return fmt::format("{} rank{} of {} thread{}{}{}{}", identity.world_size, identity.world_size == 1 ? "" : "s",
                     identity.num_threads, identity.num_threads == 1 ? "" : "s",
                     identity.device == "GPU" ? " on GPUs" : "",
                     identity.frozen_dtype.empty() ? "" : " with frozen layers in ", identity.frozen_dtype);
}

}  // namespace

void check_checkpoint(const CheckpointStore& checkpoints, const Config& config, const RunIdentity& current,
                      const Log& log) {
  if (!config.resume_from_checkpoint) return;
  const bool is_named = *config.resume_from_checkpoint != "latest";
  for (const fs::path& folder : checkpoints.to_resume_from(*config.resume_from_checkpoint)) {
    try {
      const RunIdentity saved = load_run_identity(folder);
      require_resumable(saved, current);
      return tell_differences(folder, saved, current, config, log);
    } catch (const Error& error) {
      const bool passes_over = !is_named && error.code() == ExitCode::data;
      if (!passes_over) throw;
    }
  }
}

void tell_differences(const fs::path& checkpoint, const RunIdentity& saved, const RunIdentity& current,
                      const Config& config, const Log& log) {
  if (machine(saved) != machine(current)) {
    log.info(
        "the checkpoint was written by {}, this run has {}: it will agree with the uninterrupted run to rounding, not "
        "to the bit",
        machine(saved), machine(current));
  }
  for (const std::string& change : changed_options(checkpoint, to_toml(config))) {
    log.info("changed since the checkpoint: {}", change);
  }
}

}  // namespace bertdist
