#include "sweep/trial_table.h"

#include <fmt/core.h>
#include <toml++/toml.h>

#include "base/atomic_file.h"

namespace bertdist {

namespace {

using Json = nlohmann::ordered_json;

Json value_to_json(const std::string& toml_value) {
  const toml::table holder = toml::parse("value = " + toml_value);
  const toml::node& node = *holder.get("value");
  if (const auto* number = node.as_integer()) return number->get();
  if (const auto* number = node.as_floating_point()) return number->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  if (const auto* text = node.as_string()) return text->get();
  return toml_value;
}

std::string csv_field(const Json& cell) {
  if (cell.is_null()) return "";
  const std::string text = cell.is_string() ? cell.get<std::string>() : cell.dump();
  if (text.find_first_of("\",\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

}  // namespace

Json to_json(const std::vector<Assignment>& parameters) {
  Json json = Json::object();
  for (const Assignment& parameter : parameters) json[parameter.name] = value_to_json(parameter.value);
  return json;
}

std::string csv_text(std::span<const Json> rows) {
  std::string text;
  const auto append_line = [&](const auto& cell_of) {
    std::string line;
    for (const auto& [column, first] : rows.front().items()) {
      if (!line.empty()) line += ',';
      line += csv_field(cell_of(column));
    }
    text += line + "\r\n";
  };
  if (rows.empty()) return text;
  append_line([](const std::string& column) { return Json(column); });
  for (const Json& row : rows) {
    append_line([&](const std::string& column) { return row.contains(column) ? row[column] : Json(); });
  }
  return text;
}

void write_rows(const std::string& output_file, std::span<const Json> rows) {
  std::string text;
  if (output_file.ends_with(".jsonl")) {
    for (const Json& row : rows) text += row.dump() + "\n";
  } else {
    text = csv_text(rows);
  }
  if (output_file.empty()) {
    fmt::print("{}", text);
  } else {
    write_file_atomically(output_file, text);
  }
}

void write_trial_table(const std::string& output_file, std::span<const Trial> trials) {
  std::vector<Json> rows;
  for (const Trial& trial : trials) {
    Json row = {{"trial", trial.index}};
    row.update(to_json(trial.parameters));
    rows.push_back(std::move(row));
  }
  write_rows(output_file, rows);
}

}  // namespace bertdist
