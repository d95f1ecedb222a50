#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pretrained/bert_config.h"

namespace bertdist {

struct ParameterSpec {
  std::string name;  // Hugging Face's
  std::vector<std::int64_t> shape;
};

// Every parameter of a BertForSequenceClassification, in Hugging Face's order.
std::vector<ParameterSpec> bert_parameter_specs(const BertConfig& config);

}  // namespace bertdist
