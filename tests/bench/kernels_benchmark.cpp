// What one step, one evaluation and one batch are made of, each on one thread.
// Usage: kernels_benchmark [--benchmark_filter=REGEX] [--benchmark_...]
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <benchmark/benchmark.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "data/batch_plan.h"
#include "data/split.h"
#include "metrics/classification_metrics.h"
#include "model/attention.h"
#include "optim/adamw.h"
#include "optim/linear_kernels.h"
#include "train/head_step.h"

namespace bertdist {
namespace {

constexpr std::int64_t kHidden = 384;  // MiniLM's
constexpr std::int64_t kBatch = 8;

std::vector<float> normal_values(std::int64_t count, float sigma) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, sigma);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

void set_elements_per_second(benchmark::State& state, std::int64_t elements) {
  state.counters["elements_per_second"] =
      benchmark::Counter(static_cast<double>(state.iterations() * elements), benchmark::Counter::kIsRate);
}

// range(0) poolers, each updated once and multiplied with its next batch: more of them than the caches hold cost what
// memory costs.
void pooler_update(benchmark::State& state) {
  const std::int64_t size = kHidden * kHidden;
  const std::int64_t heads = state.range(0);
  std::vector<float> weight = normal_values(heads * size, 0.02f);
  std::vector<float> exp_avg(weight.size()), exp_avg_sq(weight.size(), 1e-8f), output(kBatch * kHidden);
  const std::vector<float> input = normal_values(kBatch * kHidden, 1),
                           d_output = normal_values(kBatch * kHidden, 0.01f);
  const LinearBatch batch{input.data(), d_output.data(), kBatch};
  const AdamWStep step{.learning_rate = 1e-4, .num_updates = 100};
  for (auto _ : state) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t offset = head * size;
      update_linear(weight.data() + offset, exp_avg.data() + offset, exp_avg_sq.data() + offset, batch, kHidden,
                    kHidden, 1, step, {input.data(), output.data(), kBatch});
    }
    benchmark::ClobberMemory();
  }
  set_elements_per_second(state, heads * size);
}
BENCHMARK(pooler_update)->Arg(1)->Arg(16)->Unit(benchmark::kMicrosecond);

void head_step(benchmark::State& state) {
  const HeadLayout layout{.hidden = kHidden, .num_labels = 2};
  HeadStep step(layout);
  at::Tensor values = at::randn({layout.num_elements()}).mul_(0.02);
  at::Tensor exp_avg = at::zeros_like(values), exp_avg_sq = at::zeros_like(values);
  const at::Tensor labels = at::zeros({kBatch}, at::kLong), mask = at::ones({kBatch, kHidden});
  at::Tensor features = at::randn({kBatch, kHidden});
  for (auto _ : state) {
    step.forward_backward(values.data_ptr<float>(), {features, mask, labels}, 0, kBatch);
    benchmark::DoNotOptimize(step.grad_norm());
    features = features.clone();
    step.update(values.data_ptr<float>(), exp_avg.data_ptr<float>(), exp_avg_sq.data_ptr<float>(), 1,
                {.learning_rate = 1e-4, .num_updates = 100}, features);
  }
}
BENCHMARK(head_step)->Unit(benchmark::kMicrosecond);

void adamw_of_a_flat_buffer(benchmark::State& state) {
  const at::Tensor parameter = at::randn({state.range(0)}).mul_(0.02);
  FlatParameters parameters({{"weight", parameter}});
  AdamW optimizer(parameters, AdamWOptions{});
  parameters.gradients().normal_();
  for (auto _ : state) optimizer.step(1e-4);
  set_elements_per_second(state, state.range(0));
}
BENCHMARK(adamw_of_a_flat_buffer)->Arg(148'610)->Arg(22'713'986)->Unit(benchmark::kMillisecond);

std::vector<std::int32_t> row_lengths(std::int64_t rows) {
  std::mt19937 generator(1);
  std::geometric_distribution<std::int32_t> geometric(1.0 / 24);
  std::vector<std::int32_t> lengths(static_cast<std::size_t>(rows));
  for (std::int32_t& length : lengths) length = std::min(512, 3 + geometric(generator));
  return lengths;
}

void plan_of_an_epoch(benchmark::State& state) {
  const std::vector<std::int32_t> lengths = row_lengths(state.range(0));
  std::int64_t epoch = 0;
  for (auto _ : state) {
    const TrainPlan plan({.seed = 1, .epoch = epoch++, .global_batch_size = 64, .world_size = 8},
                         all_rows(state.range(0)), lengths);
    benchmark::DoNotOptimize(plan.rows(0, 0).size());
  }
  set_elements_per_second(state, state.range(0));
}
BENCHMARK(plan_of_an_epoch)->Arg(2'100)->Arg(67'349)->Unit(benchmark::kMillisecond);

struct PackedBatch {
  std::vector<std::int32_t> cu_seqlens{0};
  std::vector<std::int64_t> row_ids;

  explicit PackedBatch(std::int64_t rows) {
    for (const std::int32_t length : row_lengths(rows)) cu_seqlens.push_back(cu_seqlens.back() + length);
    row_ids.resize(static_cast<std::size_t>(rows));
    std::iota(row_ids.begin(), row_ids.end(), 0);
  }
};

void packing(benchmark::State& state) {
  const PackedBatch batch(state.range(0));
  for (auto _ : state) make_layout(batch.cu_seqlens, batch.row_ids, batch.cu_seqlens.back(), at::kCPU);
  set_elements_per_second(state, batch.cu_seqlens.back());
}
BENCHMARK(packing)->Arg(8)->Arg(64);

void attention_of_packed_rows(benchmark::State& state) {
  const PackedBatch batch(state.range(0));
  const PackedLayout layout = make_layout(batch.cu_seqlens, batch.row_ids, batch.cu_seqlens.back(), at::kCPU);
  const at::Tensor x = at::randn({batch.cu_seqlens.back(), kHidden});
  for (auto _ : state) packed_attention(x, x, x, layout, /*num_heads=*/12, /*first_token_only=*/false, std::nullopt);
  set_elements_per_second(state, batch.cu_seqlens.back());
}
BENCHMARK(attention_of_packed_rows)->Arg(8)->Arg(64)->Unit(benchmark::kMillisecond);

void metrics_with_auc(benchmark::State& state) {
  const std::vector<float> logits = normal_values(2 * state.range(0), 1);
  std::vector<std::int64_t> labels(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i % 2);
  for (auto _ : state) benchmark::DoNotOptimize(compute_classification_metrics(logits, labels, 2).auc);
  set_elements_per_second(state, state.range(0));
}
BENCHMARK(metrics_with_auc)->Arg(1'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  const c10::NoGradGuard no_grad;
  at::set_num_threads(1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
