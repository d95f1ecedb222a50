#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "sweep/trials.h"

namespace bertdist {

// Parameters as a JSON object: numbers, flags and text as such, lists and tables as their TOML.
nlohmann::ordered_json to_json(const std::vector<Assignment>& parameters);

// Rows of named cells as CSV (RFC 4180), the columns being the first row's. Text as it stands, numbers with all digits.
std::string csv_text(std::span<const nlohmann::ordered_json> rows);
// As CSV or, where the file's name ends in .jsonl, as one JSON object a line; to standard output where it is empty.
void write_rows(const std::string& output_file, std::span<const nlohmann::ordered_json> rows);

// One row a trial: "trial" and the parameters.
void write_trial_table(const std::string& output_file, std::span<const Trial> trials);

}  // namespace bertdist
