#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bertdist {

// The classes of a task: ids 0 ... C-1 and their names (Hugging Face's id2label and label2id).
class LabelMap {
 public:
  LabelMap() = default;
  // names[id]. Throws Error(configuration) for two equal names.
  explicit LabelMap(std::vector<std::string> names);
  // Throws Error(configuration) where the ids are not 0 ... C-1, each once.
  static LabelMap from_label2id(const std::map<std::string, std::int64_t>& label2id);
  // From the distinct values of a label column: integers, which must be 0 ... C-1, are the ids and are named LABEL_0,
  // LABEL_1, … as Hugging Face does; other labels are numbered in sorted order. `where` names the column in errors.
  // Throws Error(data) for a gap in the integers and for fewer than two labels.
  static LabelMap from_values(const std::vector<std::string>& values, std::string_view where);

  std::int64_t num_labels() const { return static_cast<std::int64_t>(names_.size()); }
  const std::vector<std::string>& names() const { return names_; }
  // A name's id. Where no name is an integer, an id written as a number is a label too.
  std::optional<std::int64_t> id_of(std::string_view label) const;
  // Two labels that differ in nothing but whitespace and letter case: probably one, written in two ways.
  std::optional<std::pair<std::string, std::string>> look_alikes() const;
  // For messages: the labels that id_of knows.
  std::string describe() const;

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::int64_t> ids_;
};

}  // namespace bertdist
