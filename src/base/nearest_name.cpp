#include "base/nearest_name.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <string>
#include <vector>

namespace bertdist {

namespace {

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string_view nearest_name(std::string_view written, const std::vector<std::string_view>& names) {
  const std::string wanted = lower_case(written);
  const bool long_enough = wanted.size() >= 3;
  const auto find = [&](auto matches) {
    const auto found = std::find_if(names.begin(), names.end(), [&](auto name) { return matches(lower_case(name)); });
    return found == names.end() ? std::string_view{} : *found;
  };
  const auto longer = find([&](const std::string& name) { return long_enough && name.starts_with(wanted); });
  if (!longer.empty()) return longer;

  std::string_view nearest;
  std::size_t smallest = std::max<std::size_t>(2, wanted.size() / 3) + 1;
  for (const std::string_view name : names) {
    const std::size_t distance = edit_distance(wanted, lower_case(name));
    if (distance >= smallest || distance >= name.size()) continue;
    smallest = distance;
    nearest = name;
  }
  if (!nearest.empty()) return nearest;
  return find([&](const std::string& name) { return long_enough && name.find(wanted) != std::string::npos; });
}

}  // namespace bertdist
