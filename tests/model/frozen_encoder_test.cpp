#include "model/frozen_encoder.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include <numeric>

#include "model/freezing.h"
#include "model/model_test_tools.h"

namespace bertdist {
namespace {

// Longer and shorter than a vector, repeated, and in no order.
const std::vector<std::int64_t> lengths = {5, 1, 32, 17, 5, 16, 2, 31, 5, 29};

BertInput make_input() {
  std::vector<std::int64_t> row_ids(lengths.size());
  std::iota(row_ids.begin(), row_ids.end(), 0);
  return pack(random_rows(lengths, 50), row_ids);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a - b).abs().max().item<double>();
}

class FrozenEncoderTest : public testing::TestWithParam<const char*> {
 protected:
  FrozenEncoderTest() : model_(make_model()) {}
  static BertForSequenceClassification make_model() {
    BertConfig config = small_config();
    config.hidden_act = GetParam();
    BertForSequenceClassification model = BertForSequenceClassification::from_config(config, 1);
    const c10::NoGradGuard no_grad;
    // As after training: no bias is zero, no LayerNorm the identity.
    for (NamedParameter& parameter : model.parameters()) {
      if (parameter.tensor.dim() == 1) parameter.tensor.add_(0.1 * at::randn(parameter.tensor.sizes()));
    }
    return model;
  }

  const c10::NoGradGuard no_grad_;
  BertForSequenceClassification model_;
  BertInput input_ = make_input();
};

TEST_P(FrozenEncoderTest, TheWholeEncoderGivesTheModelsClsHidden) {
  const FrozenEncoder encoder(model_, 3, at::kFloat);
  EXPECT_TRUE(encoder.gives_cls_only());
  EXPECT_LT(largest_difference(encoder.forward(input_), model_.cls_hidden(input_, std::nullopt)), 1e-5);
}

// bfloat16 has 8 bits: one rounding of a value near 1 is off by up to 2^-9. Through three layers of this model, whose
// weights are ten times a trained one's, errors stay below 20 of these.
TEST_P(FrozenEncoderTest, Bfloat16IsNearFloat32) {
  const at::Tensor exact = model_.cls_hidden(input_, std::nullopt);
  const at::Tensor rounded = FrozenEncoder(model_, 3, at::kBFloat16).forward(input_);
  EXPECT_EQ(rounded.scalar_type(), at::kFloat);
  const double difference = largest_difference(rounded, exact);
  EXPECT_LT(difference, 20 * 0x1p-9);
  EXPECT_GT(difference, 0x1p-12) << "was this computed in bfloat16?";
}

INSTANTIATE_TEST_SUITE_P(Activations, FrozenEncoderTest, testing::Values("gelu", "gelu_new", "relu", "silu"));

class FrozenPartTest : public FrozenEncoderTest {};
INSTANTIATE_TEST_SUITE_P(Gelu, FrozenPartTest, testing::Values("gelu"));

TEST_P(FrozenPartTest, ARowsBitsDoNotDependOnItsBatchNorOnTheNumberOfThreads) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const FrozenEncoder encoder(model_, 3, dtype);
    const at::Tensor together = encoder.forward(input_);
    const int num_threads = at::get_num_threads();
    at::set_num_threads(1);
    EXPECT_TRUE(at::equal(encoder.forward(input_), together));
    at::set_num_threads(num_threads);
    const std::vector<TokenIds> rows = random_rows(lengths, 50);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const at::Tensor alone = encoder.forward(pack({rows[i]}, {0}));
      EXPECT_LT(largest_difference(alone[0], together[static_cast<std::int64_t>(i)]),
                dtype == at::kFloat ? 1e-6 : 0x1p-9);
    }
  }
}

TEST_P(FrozenPartTest, ItsOutputStandsInForTheModelsFrozenLayers) {
  const c10::AutoGradMode record(true);
  for (const std::int64_t num_layers : {1, 2, 3}) {
    apply_freezing(model_, {.kind = FreezeSpec::Kind::first_layers, .first_layers = num_layers}, false);
    const at::Tensor output = FrozenEncoder(model_, num_layers, at::kFloat).forward(input_);
    EXPECT_EQ(output.size(0), num_layers == 3 ? std::ssize(lengths) : input_.token_ids.numel());
    const auto logits_and_gradient = [&](const at::Tensor& frozen_output) {
      at::Tensor weight = model_.parameters()[model_.parameters().size() - 2].tensor;
      weight.mutable_grad() = at::Tensor();
      const at::Tensor logits = model_.logits(input_, Dropout{42, 3}, frozen_output);
      logits.square().sum().backward();
      return at::cat({logits.detach().reshape(-1), weight.grad().reshape(-1)});
    };
    EXPECT_TRUE(at::allclose(logits_and_gradient(output), logits_and_gradient({}), 1e-4, 1e-5)) << num_layers;
  }
}

TEST_P(FrozenPartTest, KeepsItsWeightsWhenTheModelsChange) {
  const FrozenEncoder encoder(model_, 3, at::kFloat);
  const at::Tensor before = encoder.forward(input_);
  for (NamedParameter& parameter : model_.parameters()) {
    if (parameter.name.find("encoder") != std::string::npos) parameter.tensor.zero_();
  }
  EXPECT_TRUE(at::equal(encoder.forward(input_), before));
}

TEST_P(FrozenPartTest, AnEmptyBatchHasNoRows) {
  EXPECT_EQ(FrozenEncoder(model_, 3, at::kFloat).forward(pack({}, {})).sizes().vec(),
            (std::vector<std::int64_t>{0, 24}));
}

TEST_P(FrozenPartTest, WeightsThatAreNotNumbersStayNoticed) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    BertForSequenceClassification broken = make_model();
    for (NamedParameter& parameter : broken.parameters()) {
      if (parameter.name.ends_with("layer.0.attention.self.value.bias")) parameter.tensor.fill_(NAN);
    }
    EXPECT_TRUE(FrozenEncoder(broken, 3, dtype).forward(input_).isnan().all().item<bool>());
  }
}

TEST_P(FrozenPartTest, RefusesWhatDoesNotFit) {
  const FrozenEncoder encoder(model_, 3, at::kFloat);
  const auto code_with = [&](auto change) {
    BertInput input = make_input();
    change(input);
    return error_of([&] { encoder.forward(input); }).code();
  };
  EXPECT_EQ(code_with([](BertInput& input) { input.cu_seqlens.back() -= 1; }), ExitCode::internal);
  EXPECT_EQ(code_with([](BertInput& input) { input.position_ids = input.position_ids.slice(0, 1); }),
            ExitCode::internal);
  EXPECT_EQ(code_with([](BertInput& input) { input.token_ids = input.token_ids + 50; }), ExitCode::internal);
  EXPECT_EQ(error_of([&] { FrozenEncoder(model_, 4, at::kFloat); }).code(), ExitCode::internal);
  EXPECT_EQ(error_of([&] { FrozenEncoder(model_, 3, at::kDouble); }).code(), ExitCode::internal);
}

}  // namespace
}  // namespace bertdist
