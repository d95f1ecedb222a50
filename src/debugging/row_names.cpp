#include "debugging/row_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/table.h"

namespace bertdist {

std::string RowNames::list(std::span<const std::int64_t> row_ids) const {
  constexpr std::ptrdiff_t kMaxShown = 5;
  const std::ptrdiff_t num_shown = std::min(kMaxShown, std::ssize(row_ids));
  std::string text;
  for (std::ptrdiff_t i = 0; i < num_shown; ++i) {
    text += fmt::format("\n  {}", name(row_ids[static_cast<std::size_t>(i)]));
  }
  const std::ptrdiff_t num_more = std::ssize(row_ids) - num_shown;
  return num_more > 0 ? text + fmt::format("\n  and {}", counted(num_more, "more row")) : text;
}

}  // namespace bertdist
