#include "model/attention.h"

#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include <set>

#include "model/attention_kernels_stand_in.h"
#include "model/frozen_encoder.h"
#include "model/model_test_tools.h"

namespace bertdist {
namespace {

const std::vector<std::int32_t> cu_seqlens = {0, 5, 6, 11, 14};  // two rows of one length
const std::vector<std::int64_t> row_ids = {7, 8, 9, 10};
constexpr std::int64_t num_tokens = 14;

PackedLayout layout_for(AttentionKernel kernel) {
  return make_layout(cu_seqlens, row_ids, num_tokens, at::kCPU, kernel);
}

struct Operands {
  at::Tensor query, key, value;
  std::vector<at::Tensor> all() const { return {query, key, value}; }
};

Operands random_operands(bool first_token_only, std::int64_t hidden, at::ScalarType dtype) {
  at::manual_seed(5);
  const auto leaf = [&](std::int64_t rows) { return at::randn({rows, hidden}, dtype).set_requires_grad(true); };
  return {leaf(first_token_only ? std::ssize(row_ids) : num_tokens), leaf(num_tokens), leaf(num_tokens)};
}

at::Tensor attend(const Operands& x, AttentionKernel kernel, std::int64_t num_heads, bool first_token_only,
                  const std::optional<AttentionDropout>& dropout = std::nullopt) {
  return packed_attention(x.query, x.key, x.value, layout_for(kernel), num_heads, first_token_only, dropout);
}

constexpr AttentionDropout dropout{.p = 0.2, .dropout = {42, 3}, .site = DropoutSite::attention_probs(1)};

class AttentionGradients : public testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(AttentionGradients, EqualFiniteDifferences) {
  const auto [first_token_only, drops] = GetParam();
  const Operands x = random_operands(first_token_only, 4, at::kDouble);
  const at::Tensor weights = at::randn(x.query.sizes(), at::kDouble);
  const std::optional<AttentionDropout> masks = drops ? std::optional(dropout) : std::nullopt;
  const auto loss = [&] { return (attend(x, AttentionKernel::by_length, 2, first_token_only, masks) * weights).sum(); };
  loss().backward();
  const c10::AutoGradMode no_grad(false);
  const double step = 1e-6;
  for (const at::Tensor& operand : x.all()) {
    const at::Tensor values = operand.detach().view(-1);
    const at::Tensor gradient = operand.grad().reshape(-1);
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      values[i] += step;
      const double above = loss().item<double>();
      values[i] -= 2 * step;
      const double below = loss().item<double>();
      values[i] += step;
      ASSERT_NEAR(gradient[i].item<double>(), (above - below) / (2 * step), 1e-8) << i;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(All, AttentionGradients, testing::Combine(testing::Bool(), testing::Bool()));

class KernelOfADevice : public testing::TestWithParam<std::tuple<AttentionKernel, bool, std::int64_t>> {};

// Over stand-ins of the operators: shapes, lengths and scale that they are given, and autograd through them.
TEST_P(KernelOfADevice, GivesWhatTheCpuGives) {
  const auto [kernel, first_token_only, head_dim] = GetParam();
  const Operands on_cpu = random_operands(first_token_only, 2 * head_dim, at::kFloat);
  const Operands by_kernel = random_operands(first_token_only, 2 * head_dim, at::kFloat);
  const at::Tensor expected = attend(on_cpu, AttentionKernel::by_length, 2, first_token_only);
  const at::Tensor context = attend(by_kernel, kernel, 2, first_token_only);
  EXPECT_EQ(last_attention_call().kernel, kernel);
  EXPECT_EQ(last_attention_call().max_queries, first_token_only ? 1 : 5);
  EXPECT_EQ(last_attention_call().max_keys, 5);
  EXPECT_EQ(last_attention_call().dropout_p, 0);
  EXPECT_EQ(context.sizes(), expected.sizes());
  EXPECT_TRUE(at::allclose(context, expected, 1e-5, 1e-6));
  const at::Tensor weights = at::randn(context.sizes());
  (expected * weights).sum().backward();
  (context * weights).sum().backward();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::allclose(by_kernel.all()[i].grad(), on_cpu.all()[i].grad(), 1e-4, 1e-5)) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(All, KernelOfADevice,
                         testing::Combine(testing::Values(AttentionKernel::flash, AttentionKernel::memory_efficient),
                                          testing::Bool(), testing::Values(16, 12, 26)));

TEST(AttentionDropoutOfADevice, IsSeededByStepLayerAndFirstRow) {
  const Operands x = random_operands(false, 16, at::kFloat);
  attend(x, AttentionKernel::flash, 2, false, dropout);
  EXPECT_EQ(last_attention_call().dropout_p, 0.2);
  EXPECT_EQ(last_attention_call().seed, generator_seed(dropout, layout_for(AttentionKernel::flash).row_ids.front()));

  const auto seed = [](Dropout key, std::int64_t layer, std::int64_t row) {
    return generator_seed({0.2, key, DropoutSite::attention_probs(layer)}, row);
  };
  const std::set<std::uint64_t> seeds = {seed({42, 3}, 1, 7),         seed({43, 3}, 1, 7),
                                         seed({42, 4}, 1, 7),         seed({42, 3}, 2, 7),
                                         seed({42, 3}, 1, 8),         seed({42 | 1ull << 40, 3}, 1, 7),
                                         seed({42, 1ull << 33}, 1, 7)};
  EXPECT_EQ(seeds.size(), 7u);
}

// The whole model as a device computes it, over stand-ins of the attention kernels.
class ModelOnADevice : public testing::TestWithParam<DeviceMath> {};

TEST_P(ModelOnADevice, GivesTheLogitsAndGradientsOfTheCpu) {
  const DeviceMath math = GetParam();
  const double tolerance = math.matmul_dtype == at::kFloat ? 1e-4 : 0.1;
  BertConfig config = small_config();
  config.attention_probs_dropout_prob = 0;
  auto on_cpu = BertForSequenceClassification::from_config(config, 1);
  auto on_device = BertForSequenceClassification::from_config(config, 1);
  on_device.use_device(at::kCPU, math);
  const BertInput input = pack(random_rows({5, 1, 9, 5}, config.vocab_size), row_ids);
  const at::Tensor expected = on_cpu.logits(input, Dropout{42, 3});
  const at::Tensor logits = on_device.logits(input, Dropout{42, 3});
  EXPECT_EQ(last_attention_call().kernel, math.attention);
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  const auto expect_near = [&](const at::Tensor& value, const at::Tensor& of_cpu, const std::string& name) {
    EXPECT_LT((value - of_cpu).norm().item<double>(), tolerance * (of_cpu.norm().item<double>() + 1e-3)) << name;
  };
  expect_near(logits, expected, "logits");
  expected.square().sum().backward();
  logits.square().sum().backward();
  for (std::size_t i = 0; i < on_cpu.parameters().size(); ++i) {
    const at::Tensor gradient = on_device.parameters()[i].tensor.grad();
    EXPECT_EQ(gradient.scalar_type(), at::kFloat);
    // key.bias has a gradient of zero, but for rounding.
    if (on_cpu.parameters()[i].name.ends_with("key.bias")) continue;
    expect_near(gradient, on_cpu.parameters()[i].tensor.grad(), on_cpu.parameters()[i].name);
  }
  for (const std::int64_t num_layers : {1, 3}) {
    expect_near(on_device.hidden_after(input, num_layers), FrozenEncoder(on_cpu, num_layers, at::kFloat).forward(input),
                "hidden");
  }
  EXPECT_EQ(on_device.hidden_after(pack({}, {}), 3).numel(), 0);
}
INSTANTIATE_TEST_SUITE_P(All, ModelOnADevice,
                         testing::Values(DeviceMath{at::kFloat, AttentionKernel::memory_efficient},
                                         DeviceMath{at::kFloat, AttentionKernel::flash},
                                         DeviceMath{at::kBFloat16, AttentionKernel::flash},
                                         DeviceMath{at::kBFloat16, AttentionKernel::memory_efficient}));

TEST(CudaMath, HasBfloat16AndFlashFromCapability8On) {
  const auto of = [](int major, int minor, at::ScalarType wanted, std::int64_t head_dim = 64) {
    const DeviceMath math = cuda_math({major, minor}, wanted, head_dim);
    return std::pair(math.matmul_dtype, math.attention);
  };
  using enum AttentionKernel;
  EXPECT_EQ(of(9, 0, at::kBFloat16), std::pair(at::kBFloat16, flash));
  EXPECT_EQ(of(8, 0, at::kBFloat16), std::pair(at::kBFloat16, flash));
  EXPECT_EQ(of(8, 6, at::kBFloat16), std::pair(at::kBFloat16, flash));
  EXPECT_EQ(of(12, 0, at::kBFloat16), std::pair(at::kBFloat16, flash));
  EXPECT_EQ(of(8, 0, at::kBFloat16, 512), std::pair(at::kBFloat16, memory_efficient));
  EXPECT_EQ(of(9, 0, at::kFloat), std::pair(at::kFloat, memory_efficient));
  EXPECT_EQ(of(7, 5, at::kBFloat16), std::pair(at::kFloat, memory_efficient));
  EXPECT_EQ(of(7, 0, at::kFloat), std::pair(at::kFloat, memory_efficient));
  EXPECT_EQ(of(6, 1, at::kBFloat16), std::pair(at::kFloat, memory_efficient));
}

}  // namespace
}  // namespace bertdist
