#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace bertdist {

// <name>_results.json and all_results.json of a folder, as Hugging Face's example scripts write them, and the same
// numbers on standard output; with an empty folder, standard output alone. Rank 0 alone writes and prints.
class ResultFiles {
 public:
  ResultFiles(std::filesystem::path folder, int rank) : folder_(std::move(folder)), rank_(rank) {}

  // Throws Error(output).
  void write(const std::string& name, const nlohmann::ordered_json& results) const;

 private:
  std::filesystem::path folder_;
  int rank_;
};

}  // namespace bertdist
