#include "train/evaluator.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "data/split.h"
#include "train/divergence.h"
#include "train/in_turn.h"
#include "train/logit_table.h"

namespace bertdist {

namespace {

// Bounds what a rank holds before it hands it over.
constexpr std::size_t kBatchesPerRound = 128;

void append_records(Bytes& records, std::span<const std::int64_t> rows, const at::Tensor& logits) {
  const at::Tensor values = logits.contiguous();
  const auto num_labels = static_cast<std::size_t>(values.size(1));
  const std::span all(values.data_ptr<float>(), rows.size() * num_labels);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    append_logit_record(records, rows[i], all.subspan(i * num_labels, num_labels));
  }
}

}  // namespace

nlohmann::ordered_json metrics_to_json(const ClassificationMetrics& metrics) {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : metrics.named()) {
    json[std::string(name)] = value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  }
  json["confusion_matrix"] = metrics.confusion_matrix;
  return json;
}

ClassificationMetrics metrics_from_json(const nlohmann::json& json) {
  ClassificationMetrics metrics;
  ClassificationMetrics::visit(metrics, [&](const char* name, auto& value) {
    constexpr bool is_always_defined = std::is_same_v<decltype(value), double&>;
    if (!json.at(name).is_null()) {
      value = json.at(name).get<double>();
    } else if constexpr (is_always_defined) {
      value = std::numeric_limits<double>::quiet_NaN();
    }
  });
  metrics.confusion_matrix = json.at("confusion_matrix");
  return metrics;
}

std::vector<float> gather_logits(std::span<const std::int32_t> lengths, const BatchLimit& limit,
                                 std::int64_t num_labels, const BatchLogits& batch_logits, Communicator& communicator) {
  const std::vector<std::int64_t> indices = all_rows(std::ssize(lengths));
  const EvaluationPlan plan(indices, lengths, limit, communicator.world_size());
  const auto batches = plan.batches(communicator.rank());
  const std::size_t most = plan.batches(0).size();  // batches are dealt in turn, rank 0 first
  LogitTable table(communicator.rank() == 0 ? lengths.size() : 0, static_cast<std::size_t>(num_labels));
  for (std::size_t begin = 0; begin < most; begin += kBatchesPerRound) {
    const std::size_t end = std::max(begin, std::min(begin + kBatchesPerRound, batches.size()));
    std::vector<at::Tensor> logits(end - begin);
    for_each_in_turn(logits.size(), [&](std::size_t i) {
      const c10::NoGradGuard no_grad;
      logits[i] = batch_logits(batches[begin + i]).to(at::kCPU);
      communicator.progress().advance();
    });
    Bytes records;
    for (std::size_t i = 0; i < logits.size(); ++i) append_records(records, batches[begin + i], logits[i]);
    for (const Bytes& part : communicator.gather_to_root(records, 0, "evaluation logits")) table.insert(part);
  }
  return std::move(table).complete();
}

Evaluation evaluate(const Forward& forward, std::int64_t batch_size, std::int64_t num_labels,
                    double label_smoothing_factor, Communicator& communicator) {
  const auto start = std::chrono::steady_clock::now();
  const Dataset& dataset = forward.dataset();
  const std::vector<float> logits = gather_logits(
      dataset.lengths(), forward.evaluation_batch(batch_size), num_labels,
      [&](std::span<const std::int64_t> indices) { return forward.logits(indices, std::nullopt); }, communicator);

  Evaluation evaluation;
  std::string metrics;
  if (communicator.rank() == 0) {
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < dataset.size(); ++i) {
      require_finite(
          std::span(logits).subspan(static_cast<std::size_t>(i * num_labels), static_cast<std::size_t>(num_labels)),
          dataset.row(i), dataset.cache().source(), dataset.cache().source_line(dataset.row(i)));
      labels.push_back(dataset.label(i));
    }
    metrics = metrics_to_json(
                  compute_classification_metrics(logits, labels, static_cast<int>(num_labels), label_smoothing_factor))
                  .dump();
  }
  metrics = broadcast_text(communicator, metrics, 0, "evaluation metrics");
  evaluation.metrics = metrics_from_json(nlohmann::json::parse(metrics));
  evaluation.num_rows = dataset.size();
  evaluation.runtime = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return evaluation;
}

nlohmann::ordered_json Evaluation::to_json(std::string_view prefix) const {
  nlohmann::ordered_json json;
  const nlohmann::ordered_json named = metrics_to_json(metrics);
  for (const auto& [name, value] : named.items()) json[fmt::format("{}{}", prefix, name)] = value;
  json[fmt::format("{}runtime", prefix)] = runtime;
  json[fmt::format("{}samples", prefix)] = num_rows;
  json[fmt::format("{}samples_per_second", prefix)] = static_cast<double>(num_rows) / runtime;
  return json;
}

}  // namespace bertdist
