#include "pretrained/json_file.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"

namespace bertdist {
using nlohmann::json;

json parse_json(std::string_view text, std::string_view source, int max_depth) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > max_depth) throw Error(ExitCode::model, fmt::format("{} is nested too deeply", source));
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      throw Error(ExitCode::model, fmt::format("{} has the key '{}' twice", source, parsed.get<std::string>()));
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::exception& error) {
    throw Error(ExitCode::model, fmt::format("{} is not valid JSON: {}", source, error.what()));
  }
}

json read_json_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    throw Error(ExitCode::model, fmt::format("cannot read '{}': {}", path.string(), std::strerror(errno)));
  }
  return parse_json(text, fmt::format("'{}'", path.string()));
}

}  // namespace bertdist
