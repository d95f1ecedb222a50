#include "results.h"

#include <fmt/core.h>

#include <cmath>
#include <fstream>

#include "base/atomic_file.h"

namespace bertdist {

namespace {

// A confusion matrix of more classes does not fit into a line.
constexpr std::size_t kLargestMatrixShown = 6;

std::string short_text(double value) {
  return std::abs(value) < 1e6 ? fmt::format("{:.4f}", value) : fmt::format("{:.4e}", value);
}

void print(const std::string& name, const nlohmann::ordered_json& results) {
  fmt::print("\n***** {} metrics *****\n", name);
  for (const auto& [key, value] : results.items()) {
    if (value.is_array() && value.size() > kLargestMatrixShown) continue;
    fmt::print("  {:<28} = {}\n", key, value.is_number_float() ? short_text(value.get<double>()) : value.dump());
  }
  std::fflush(stdout);
}

}  // namespace

void ResultFiles::write(const std::string& name, const nlohmann::ordered_json& results) const {
  if (rank_ != 0) return;
  print(name, results);
  if (folder_.empty()) return;
  make_directories(folder_);
  write_file_atomically(folder_ / (name + "_results.json"), results.dump(4) + "\n");
  const std::filesystem::path all_path = folder_ / "all_results.json";
  nlohmann::ordered_json all;
  if (std::ifstream file(all_path); file)
    all = nlohmann::ordered_json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!all.is_object()) all = nlohmann::ordered_json::object();
  all.update(results);
  write_file_atomically(all_path, all.dump(4) + "\n");
}

}  // namespace bertdist
