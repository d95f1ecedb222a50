// Reads a JSON array of {"num_labels", "labels", "logits"} from standard input and writes the array of their metrics.
#include <iostream>
#include <nlohmann/json.hpp>

#include "metrics/classification_metrics.h"

int main() {
  nlohmann::json results = nlohmann::json::array();
  for (const nlohmann::json& input : nlohmann::json::parse(std::cin)) {
    const std::vector<double> logits = input.at("logits");
    const std::vector<std::int64_t> labels = input.at("labels");
    const auto metrics = bertdist::compute_classification_metrics(logits, labels, input.at("num_labels"));
    nlohmann::json result = {{"confusion_matrix", metrics.confusion_matrix}};
    for (const auto& [name, value] : metrics.named()) {
      result[std::string(name)] = value ? nlohmann::json(*value) : nlohmann::json();
    }
    results.push_back(std::move(result));
  }
  std::cout << results;
}
