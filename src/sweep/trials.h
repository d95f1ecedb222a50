#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "config/sweep_file.h"

namespace bertdist {

// One configuration of a sweep. Trials are numbered from 0.
struct Trial {
  std::int64_t index = 0;
  std::vector<Assignment> parameters;
  Config config;
};

std::string trial_name(std::int64_t index);                                                  // "trial_017"
std::filesystem::path trial_folder(const std::filesystem::path& sweep, std::int64_t index);  // <sweep>/trial_017

// All trials of the file, in order. A trial's output_dir is the folder "run" within its own: what the sweep writes lies
// beside it, so that the trial's configuration can be trained again as it stands. Throws Error(configuration) that
// names the trial, where one is impossible or the same as an earlier one.
std::vector<Trial> plan_trials(const SweepFile& file);

// "17", "10-19" or "3,7-9" as rising indices without repetition. Throws Error(configuration) for anything else and for
// an index that is not below `num_trials`.
std::vector<std::int64_t> parse_trial_indices(std::string_view text, std::int64_t num_trials);
// Those of one task of a job array. Throws Error(configuration) where the sweep has none for it.
std::vector<std::int64_t> trials_of_task(std::int64_t task, std::int64_t trials_per_task, std::int64_t num_trials);
// The shortest such text.
std::string trial_indices_text(const std::vector<std::int64_t>& rising_indices);

// A value's text for tables: without TOML's quotes around a plain string, and with at most six digits of a number.
std::string short_value(const std::string& toml_value);

}  // namespace bertdist
