// What a GPU computes beside what the CPU computes, piece by piece. For a machine with an NVIDIA GPU: tests/gpu/run.
#include <ATen/ATen.h>
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <cmath>

#include "model/attention.h"
#include "model/device_memory.h"
#include "model/model_test_tools.h"
#include "optim/adamw.h"
#include "train/late_values.h"

namespace bertdist {
namespace {

const at::Device gpu(at::kCUDA, 0);

ComputeCapability capability() {
  cudaDeviceProp properties{};
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  return {properties.major, properties.minor};
}

// Largest difference, as a part of the largest value.
double difference(const at::Tensor& on_gpu, const at::Tensor& on_cpu) {
  const at::Tensor expected = on_cpu.detach().to(at::kDouble);
  const at::Tensor distance = (on_gpu.detach().cpu().to(at::kDouble) - expected).abs();
  return distance.max().item<double>() / (expected.abs().max().item<double>() + 1e-6);
}

double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? 1e-4 : 0.03;  // bfloat16 has 8 bits, and sums here have up to 500 terms
}

BertConfig config_of(double dropout, std::int64_t head_dim) {
  BertConfig config = small_config();
  config.num_attention_heads = 4;
  config.hidden_size = 4 * head_dim;
  config.intermediate_size = 256;
  config.max_position_embeddings = 512;
  config.initializer_range = 0.05;
  config.hidden_dropout_prob = dropout;
  config.attention_probs_dropout_prob = 0;
  return config;
}

const std::vector<std::int64_t> lengths = {5, 1, 512, 128, 37, 37, 300, 2};

class AttentionOnAGpu : public testing::TestWithParam<std::tuple<at::ScalarType, bool, std::int64_t>> {};

// Beside the CPU's float32, which tests/model/attention_test.cpp checks by finite differences.
TEST_P(AttentionOnAGpu, HasTheContextAndGradientsOfTheCpu) {
  const auto [wanted, first_token_only, head_dim] = GetParam();
  const DeviceMath math = cuda_math(capability(), wanted, head_dim);
  std::vector<std::int32_t> cu_seqlens = {0};
  std::vector<std::int64_t> row_ids;
  for (const std::int64_t length : lengths) {
    cu_seqlens.push_back(cu_seqlens.back() + static_cast<std::int32_t>(length));
    row_ids.push_back(std::ssize(row_ids));
  }
  const std::int64_t num_tokens = cu_seqlens.back(), num_heads = 3, hidden = num_heads * head_dim;
  at::manual_seed(1);
  const std::int64_t num_queries = first_token_only ? std::ssize(row_ids) : num_tokens;
  std::vector<at::Tensor> on_cpu, on_gpu;
  for (const std::int64_t rows : {num_queries, num_tokens, num_tokens}) {
    // The same numbers on both sides: those that bfloat16 has.
    const at::Tensor values = at::randn({rows, hidden}).to(math.matmul_dtype);
    on_cpu.push_back(values.to(at::kFloat).set_requires_grad(true));
    on_gpu.push_back(values.to(gpu).set_requires_grad(true));
  }
  const at::Tensor weights = at::randn({num_queries, hidden}).to(math.matmul_dtype);
  const auto attend = [&, only_first = first_token_only](const std::vector<at::Tensor>& x, const PackedLayout& layout) {
    return packed_attention(x[0], x[1], x[2], layout, num_heads, only_first, std::nullopt);
  };
  const at::Tensor expected =
      attend(on_cpu, make_layout(cu_seqlens, row_ids, num_tokens, at::kCPU, AttentionKernel::by_length));
  const at::Tensor context = attend(on_gpu, make_layout(cu_seqlens, row_ids, num_tokens, gpu, math.attention));
  EXPECT_EQ(context.scalar_type(), math.matmul_dtype);
  EXPECT_LT(difference(context, expected), tolerance_of(math.matmul_dtype));
  (expected * weights.to(at::kFloat)).sum().backward();
  (context * weights.to(gpu)).sum().backward();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(difference(on_gpu[i].grad(), on_cpu[i].grad()), tolerance_of(math.matmul_dtype)) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(All, AttentionOnAGpu,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16), testing::Bool(),
                                          testing::Values(32, 64, 12, 26)));

class ModelOnAGpu : public testing::TestWithParam<std::tuple<at::ScalarType, double>> {};

TEST_P(ModelOnAGpu, HasTheLogitsAndGradientsOfTheCpu) {
  const auto [wanted, dropout_p] = GetParam();
  const BertConfig config = config_of(dropout_p, 32);
  const DeviceMath math = cuda_math(capability(), wanted, config.head_dim());
  const double tolerance = math.matmul_dtype == at::kFloat ? 1e-3 : 0.1;
  auto on_cpu = BertForSequenceClassification::from_config(config, 1);
  auto on_gpu = BertForSequenceClassification::from_config(config, 1);
  on_gpu.use_device(gpu, math);
  std::vector<std::int64_t> row_ids;
  for (std::size_t row = 0; row < lengths.size(); ++row) row_ids.push_back(static_cast<std::int64_t>(row));
  const BertInput input = pack(random_rows(lengths, config.vocab_size), row_ids);
  const std::optional<Dropout> dropout = Dropout{42, 3};
  const at::Tensor expected = on_cpu.logits(input, dropout);
  const at::Tensor logits = on_gpu.logits(input, dropout);
  EXPECT_LT(difference(logits, expected), tolerance);
  EXPECT_LT(difference(on_gpu.hidden_after(input, 2), on_cpu.hidden_after(input, 2)), tolerance);
  const at::Tensor labels = at::arange(std::ssize(row_ids), at::kLong).remainder(3);
  at::cross_entropy_loss(expected, labels).backward();
  at::cross_entropy_loss(logits, labels.to(gpu)).backward();
  for (std::size_t i = 0; i < on_cpu.parameters().size(); ++i) {
    const NamedParameter& parameter = on_cpu.parameters()[i];
    if (parameter.name.ends_with("key.bias")) continue;  // its gradient is zero, but for rounding
    const at::Tensor gradient = on_gpu.parameters()[i].tensor.grad();
    EXPECT_EQ(gradient.scalar_type(), at::kFloat);
    const double norm = parameter.tensor.grad().norm().item<double>();
    EXPECT_LT((gradient.cpu() - parameter.tensor.grad()).norm().item<double>(), tolerance * norm + 1e-6)
        << parameter.name;
  }
}
INSTANTIATE_TEST_SUITE_P(All, ModelOnAGpu,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16), testing::Values(0.0, 0.1)));

TEST(DropoutOnAGpu, HasTheMasksOfTheCpu) {
  const std::vector<std::int64_t> rows = {8, 0x700000005, 3}, offsets = {0, 66, 99, 1000};
  at::manual_seed(2);
  const at::Tensor x = at::randn({1000});
  const auto drop = [&](const at::Tensor& values) {
    return keyed_dropout(values, 0.1, {42, 3}, DropoutSite::output(3), rows, offsets);
  };
  EXPECT_TRUE(at::equal(drop(x.to(gpu)).cpu(), drop(x)));
}

TEST(AttentionDropoutOnAGpu, RepeatsItselfAndDropsAtItsRate) {
  const std::int64_t length = 64, hidden = 64;
  const std::vector<std::int32_t> cu_seqlens = {0, 64};
  const DeviceMath math = cuda_math(capability(), at::kBFloat16, hidden);
  const PackedLayout layout = make_layout(cu_seqlens, std::vector<std::int64_t>{7}, length, gpu, math.attention);
  const at::Tensor zeros = at::zeros({length, hidden}, at::TensorOptions(math.matmul_dtype).device(gpu));
  const auto attend = [&](std::uint64_t step) {
    const AttentionDropout dropout{0.25, {42, step}, DropoutSite::attention_probs(0)};
    // Equal scores, and values that make the context the probabilities themselves.
    const at::Tensor values = at::eye(length, zeros.options());
    return packed_attention(zeros, zeros, values, layout, 1, false, dropout);
  };
  EXPECT_TRUE(at::equal(attend(1), attend(1)));
  EXPECT_FALSE(at::equal(attend(1), attend(2)));
  const double rate = attend(1).eq(0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(rate, 0.25, 6 * std::sqrt(0.25 * 0.75 / 4096));
}

TEST(AdamWOnAGpu, MakesTheStepsOfTheCpu) {
  at::manual_seed(3);
  const at::Tensor initial = at::randn({300, 70});
  using Parameters = std::vector<TrainableParameter>;
  FlatParameters on_cpu(Parameters{{"layer.weight", initial.clone().set_requires_grad(true)}});
  FlatParameters on_gpu(Parameters{{"layer.weight", initial.to(gpu).set_requires_grad(true)}});
  AdamW cpu_optimizer(on_cpu, {.weight_decay = 0.1}), gpu_optimizer(on_gpu, {.weight_decay = 0.1});
  for (int step = 0; step < 20; ++step) {
    on_cpu.gradients().normal_();
    on_gpu.gradients().copy_(on_cpu.gradients());
    gpu_optimizer.step_on_device(1e-2, clip_divisor(grad_norm_on_device(on_gpu), 1.0),
                                 at::zeros({}, at::TensorOptions(at::kFloat).device(gpu)));
    cpu_optimizer.step(1e-2, clip_factor(grad_norm(on_cpu), 1.0));
  }
  EXPECT_TRUE(at::allclose(on_gpu.values().cpu(), on_cpu.values(), 1e-4, 1e-6));
}

TEST(LateValues, AreThoseOfTheDevice) {
  const at::Tensor values = at::arange(3, at::TensorOptions(at::kFloat).device(gpu));
  const LateValues late(values + 1);
  EXPECT_THAT(late.wait(), testing::ElementsAre(1, 2, 3));
}

TEST(DeviceMemory, IsCounted) {
  const at::Tensor tensor = at::zeros({1 << 20}, at::TensorOptions(at::kFloat).device(gpu));
  const DeviceMemory memory = device_memory(gpu);
  EXPECT_GE(memory.most_allocated, 4 << 20);
  EXPECT_GE(memory.most_reserved, memory.most_allocated);
  EXPECT_GT(memory.total, memory.free);
}

}  // namespace
}  // namespace bertdist
