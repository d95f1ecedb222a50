#include "comm/rank_status.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace bertdist {

namespace {

std::string_view name_of(CollectiveCall call) {
  constexpr std::array<std::string_view, 9> kNames = {
      "none", "all_reduce", "broadcast", "gather_to_root", "all_gather", "barrier", "split", "connect", "synchronize"};
  return kNames.at(static_cast<std::size_t>(call));
}

std::string_view name_of(DType dtype) {
  constexpr std::array<std::string_view, 4> kNames = {"float32", "float64", "int64", "bfloat16"};
  return kNames.at(static_cast<std::size_t>(dtype));
}

}  // namespace

ShortText::ShortText(std::string_view text) {
  std::copy_n(text.begin(), std::min(text.size(), kCapacity - 1), bytes);
}

std::uint64_t CollectiveSite::hash() const {
  // FNV-1a: all ranks must get the same value, whatever standard library each of them was built with.
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  add(static_cast<std::uint64_t>(call));
  if (call == CollectiveCall::all_reduce) {
    add(static_cast<std::uint64_t>(dtype));
    add(static_cast<std::uint64_t>(op));
  }
  add(static_cast<std::uint64_t>(root));
  add(static_cast<std::uint64_t>(memory));
  for (const char c : what.view()) add(static_cast<unsigned char>(c));
  return hash;
}

std::string CollectiveSite::to_string() const {
  if (call == CollectiveCall::none) return "the start";
  std::string text = fmt::format("{} of {}", name_of(call), what.view());
  const std::string_view place = memory == Memory::device ? " on the device" : "";
  if (call == CollectiveCall::all_reduce) text += fmt::format(" ({} {}{})", count, name_of(dtype), place);
  if (call == CollectiveCall::broadcast) text += fmt::format(" ({} bytes{}, root {})", count, place, root);
  if (is_uneven()) text += fmt::format(" ({} bytes here)", count);
  return text;
}

std::string RankStatus::to_string() const {
  const std::string where = in_collective != 0        ? site.to_string()
                            : activity.view().empty() ? "the work after " + site.to_string()
                                                      : std::string(activity.view());
  return step > 0 ? fmt::format("step {}, {}", step, where) : where;
}

}  // namespace bertdist
