#include "config/nearest.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace bertdist {
namespace {

// Letters to insert, delete or replace (Levenshtein).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string_view nearest_name(std::string_view written, const std::vector<std::string_view>& names) {
  const auto longer = std::find_if(names.begin(), names.end(), [&](auto name) { return name.starts_with(written); });
  if (longer != names.end() && written.size() >= 3) return *longer;
  std::string_view nearest;
  std::size_t nearest_distance = std::max<std::size_t>(2, written.size() / 3) + 1;
  for (const std::string_view name : names) {
    const std::size_t distance = edit_distance(written, name);
    if (distance < nearest_distance && distance < name.size()) {
      nearest = name;
      nearest_distance = distance;
    }
  }
  if (!nearest.empty() || written.size() < 3) return nearest;
  const auto containing =
      std::find_if(names.begin(), names.end(), [&](std::string_view name) { return name.find(written) != name.npos; });
  return containing == names.end() ? std::string_view{} : *containing;
}

}  // namespace bertdist
