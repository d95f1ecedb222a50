// Lets the reference tests run the model alone: model_driver FOLDER REQUEST.json OUTPUT_FOLDER
//
// The request: {"rows": [[token ids], ...], "types": [[token type ids], ...], "labels": [label ids], "batch_size": n,
// "id2label": [optional labels], "gradients": bool, "save": bool, "frozen": "float32" or "bfloat16" where the
// forward-only pass is to compute the encoder}. The answer, in OUTPUT_FOLDER: out.safetensors with logits [rows,
// labels], and with gradients of the mean cross entropy over all rows; report.json; the saved model.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/atomic_file.h"
#include "base/error.h"
#include "model/bert.h"
#include "model/frozen_encoder.h"
#include "model/safetensors.h"
#include "pretrained/json_file.h"
#include "pretrained/model_folder.h"

namespace bertdist {
namespace {
using nlohmann::json;
using Ids = std::vector<std::int64_t>;

BertInput pack(const json& request, std::size_t begin, std::size_t end) {
  Ids tokens, types, positions;
  BertInput input{{}, {}, {}, {0}, {}};
  for (std::size_t row = begin; row < end; ++row) {
    const Ids row_tokens = request["rows"][row], row_types = request["types"][row];
    tokens.insert(tokens.end(), row_tokens.begin(), row_tokens.end());
    types.insert(types.end(), row_types.begin(), row_types.end());
    for (std::size_t i = 0; i < row_tokens.size(); ++i) positions.push_back(static_cast<std::int64_t>(i));
    input.cu_seqlens.push_back(static_cast<std::int32_t>(tokens.size()));
    input.row_ids.push_back(static_cast<std::int64_t>(row));
  }
  input.token_ids = at::tensor(tokens, at::kLong);
  input.token_type_ids = at::tensor(types, at::kLong);
  input.position_ids = at::tensor(positions, at::kLong);
  return input;
}

void run(const std::string& name, const std::filesystem::path& request_path, const std::filesystem::path& output) {
  const json request = read_json_file(request_path);
  LoadReport report;
  const PretrainedOptions options{.id2label = request.value("id2label", std::vector<std::string>()),
                                  .problem_type = ""};
  const auto model = BertForSequenceClassification::from_pretrained(resolve_model_folder(name), options, report);
  write_file_atomically(output / "report.json",
                        json{{"initialized", report.initialized}, {"unused", report.unused}}.dump());

  const bool gradients = request.value("gradients", false);
  const c10::AutoGradMode grad_mode(gradients);
  const std::size_t num_rows = request["rows"].size(), batch_size = request["batch_size"];
  std::optional<FrozenEncoder> encoder;
  if (const std::string dtype = request.value("frozen", ""); !dtype.empty()) {
    encoder.emplace(model, model.config().num_hidden_layers, dtype == "float32" ? at::kFloat : at::kBFloat16);
  }
  std::vector<at::Tensor> logits;
  for (std::size_t begin = 0; begin < num_rows; begin += batch_size) {
    const std::size_t end = std::min(num_rows, begin + batch_size);
    const BertInput input = pack(request, begin, end);
    logits.push_back(encoder ? model.head_logits(encoder->forward(input), input.row_ids, std::nullopt)
                             : model.logits(input, std::nullopt));
    if (!gradients) continue;
    const Ids all_labels = request["labels"];
    const Ids labels(all_labels.begin() + begin, all_labels.begin() + end);
    const at::Tensor sum = at::cross_entropy_loss(logits.back(), at::tensor(labels, at::kLong), {}, at::Reduction::Sum);
    (sum / static_cast<double>(num_rows)).backward();
  }
  std::vector<std::pair<std::string, at::Tensor>> answer = {{"logits", at::cat(logits)}};
  for (const NamedParameter& parameter : model.parameters()) {
    if (gradients) answer.emplace_back(parameter.name, parameter.tensor.grad());
  }
  save_safetensors(output / "out.safetensors", answer);
  if (request.value("save", false)) model.save_pretrained(output);
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    bertdist::run(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const bertdist::Error& error) {
    std::fprintf(stderr, "error: %s\nhint: %s\n", error.what(), error.hint().c_str());
    return static_cast<int>(error.code());
  }
}
