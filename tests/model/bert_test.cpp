#include "model/bert.h"

#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include <numeric>

#include "model/freezing.h"
#include "model/model_test_tools.h"

namespace bertdist {
namespace {

constexpr Dropout dropout{42, 3};
const std::vector<std::int64_t> lengths = {5, 1, 32, 5, 9, 2, 32, 5};

std::vector<std::int64_t> row_ids_of(std::size_t count) {
  std::vector<std::int64_t> row_ids(count);
  std::iota(row_ids.begin(), row_ids.end(), 100);
  return row_ids;
}

class BertTest : public testing::Test {
 protected:
  BertTest()
      : model_(BertForSequenceClassification::from_config(small_config(), 1)),
        rows_(random_rows(lengths, 50)),
        row_ids_(row_ids_of(rows_.size())),
        input_(pack(rows_, row_ids_)) {}

  void use_float64() {
    for (NamedParameter& parameter : model_.parameters()) parameter.tensor.set_data(parameter.tensor.to(at::kDouble));
  }
  bool has_gradient(const std::string& name) const {
    for (const NamedParameter& parameter : model_.parameters()) {
      if (parameter.name == name) return parameter.tensor.grad().defined();
    }
    ADD_FAILURE() << "no parameter " << name;
    return false;
  }

  BertForSequenceClassification model_;
  std::vector<TokenIds> rows_;
  std::vector<std::int64_t> row_ids_;
  BertInput input_;
};

TEST_F(BertTest, ARowsLogitsDoNotDependOnItsBatch) {
  for (const std::optional<Dropout>& key : {std::optional<Dropout>(), std::optional<Dropout>(dropout)}) {
    const at::Tensor together = model_.logits(input_, key);
    EXPECT_EQ(together.sizes().vec(), (std::vector<std::int64_t>{8, 3}));
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const at::Tensor alone = model_.logits(pack({rows_[i]}, {row_ids_[i]}), key);
      EXPECT_TRUE(at::allclose(alone[0], together[static_cast<std::int64_t>(i)], 1e-5, 1e-5)) << i;
    }
  }
}

TEST_F(BertTest, ExplicitAttentionEqualsTheFusedOne) {
  BertConfig config = small_config();
  config.hidden_dropout_prob = 0;
  config.attention_probs_dropout_prob = 1e-10;  // drops nothing, but takes the path with dropout
  const BertForSequenceClassification model = BertForSequenceClassification::from_config(config, 1);
  EXPECT_TRUE(at::allclose(model.logits(input_, dropout), model.logits(input_, std::nullopt), 1e-5, 1e-5));
}

TEST_F(BertTest, EveryKindOfDropoutChangesTheResult) {
  const at::Tensor plain = model_.logits(input_, std::nullopt);
  for (double BertConfig::*probability :
       {&BertConfig::hidden_dropout_prob, &BertConfig::attention_probs_dropout_prob}) {
    BertConfig config = small_config();
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0;
    config.classifier_dropout = 0;
    config.*probability = 0.1;
    EXPECT_FALSE(at::allclose(BertForSequenceClassification::from_config(config, 1).logits(input_, dropout), plain));
  }
  BertConfig config = small_config();
  config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0;
  config.classifier_dropout = 0.5;
  const BertForSequenceClassification model = BertForSequenceClassification::from_config(config, 1);
  EXPECT_FALSE(at::allclose(model.logits(input_, dropout), plain));
  EXPECT_TRUE(at::equal(model.cls_hidden(input_, dropout), model.cls_hidden(input_, std::nullopt)));
}

TEST_F(BertTest, ANewStepHasNewMasksAndTheSameStepTheSame) {
  EXPECT_TRUE(at::equal(model_.logits(input_, dropout), model_.logits(input_, dropout)));
  EXPECT_FALSE(at::allclose(model_.logits(input_, dropout), model_.logits(input_, Dropout{42, 4})));
}

TEST_F(BertTest, LogitsAreTheTwoHalvesTogether) {
  const at::Tensor hidden = model_.cls_hidden(input_, dropout);
  EXPECT_EQ(hidden.sizes().vec(), (std::vector<std::int64_t>{8, 24}));
  EXPECT_TRUE(at::equal(model_.head_logits(hidden, row_ids_, dropout), model_.logits(input_, dropout)));
}

TEST_F(BertTest, AnEmptyBatchHasNoLogits) {
  const at::Tensor logits = model_.logits(pack({}, {}), dropout);
  EXPECT_EQ(logits.sizes().vec(), (std::vector<std::int64_t>{0, 3}));
  logits.sum().backward();
}

TEST_F(BertTest, RefusesInputThatDoesNotFit) {
  const auto code_with = [&](auto change) {
    BertInput input = input_;
    change(input);
    return error_of([&] { model_.logits(input, std::nullopt); }).code();
  };
  EXPECT_EQ(code_with([](BertInput& input) { input.cu_seqlens.back() -= 1; }), ExitCode::internal);
  EXPECT_EQ(code_with([](BertInput& input) { input.cu_seqlens[1] = 0; }), ExitCode::internal);
  EXPECT_EQ(code_with([](BertInput& input) { input.row_ids.pop_back(); }), ExitCode::internal);
  EXPECT_EQ(code_with([](BertInput& input) { input.position_ids = input.position_ids.slice(0, 1); }),
            ExitCode::internal);
}

TEST_F(BertTest, GradientsEqualFiniteDifferences) {
  use_float64();
  const at::Tensor weights = at::randn({8, 3}, at::kDouble);
  const auto loss = [&] { return (model_.logits(input_, dropout) * weights).sum(); };
  loss().backward();
  const double step = 1e-5;
  for (NamedParameter& parameter : model_.parameters()) {
    const c10::AutoGradMode no_grad(false);
    const at::Tensor flat = parameter.tensor.detach().view(-1);
    const at::Tensor gradient = parameter.tensor.grad().reshape(-1);
    const std::int64_t element = gradient.abs().argmax().item<std::int64_t>();
    flat[element] += step;
    const double above = loss().item<double>();
    flat[element] -= 2 * step;
    const double below = loss().item<double>();
    flat[element] += step;
    const double expected = (above - below) / (2 * step);
    EXPECT_NEAR(gradient[element].item<double>(), expected, 1e-6 * std::abs(expected) + 1e-7) << parameter.name;
  }
}

TEST_F(BertTest, AFrozenPrefixHasNoGradientsAndNoDropout) {
  apply_freezing(model_, {.kind = FreezeSpec::Kind::first_layers, .first_layers = 2}, false);
  model_.logits(input_, dropout).sum().backward();
  EXPECT_FALSE(has_gradient("bert.embeddings.word_embeddings.weight"));
  EXPECT_FALSE(has_gradient("bert.encoder.layer.1.output.dense.weight"));
  EXPECT_TRUE(has_gradient("bert.encoder.layer.2.attention.self.query.weight"));
  EXPECT_TRUE(has_gradient("classifier.bias"));
  EXPECT_FALSE(model_.cls_hidden_is_constant());
}

TEST_F(BertTest, AFrozenEncoderGivesTheSameHiddenStateAtEveryStep) {
  apply_freezing(model_, {.kind = FreezeSpec::Kind::base_except_pooler}, false);
  EXPECT_TRUE(model_.cls_hidden_is_constant());
  const at::Tensor hidden = model_.cls_hidden(input_, dropout);
  EXPECT_FALSE(hidden.requires_grad());
  EXPECT_TRUE(at::equal(hidden, model_.cls_hidden(input_, std::nullopt)));
  EXPECT_FALSE(at::equal(model_.logits(input_, dropout), model_.logits(input_, std::nullopt)));

  apply_freezing(model_, {.kind = FreezeSpec::Kind::base_except_pooler}, true);
  EXPECT_FALSE(model_.cls_hidden_is_constant());
  EXPECT_FALSE(at::allclose(model_.cls_hidden(input_, dropout), hidden));
}

TEST_F(BertTest, AFrozenLayerAboveTrainedOnesHasNoDropoutEither) {
  BertConfig config = small_config();
  config.hidden_dropout_prob = 0;  // which leaves the dropout of the layers' attention
  config.attention_probs_dropout_prob = 0.5;
  BertForSequenceClassification model = BertForSequenceClassification::from_config(config, 1);
  const auto drops = [&](std::vector<std::string> frozen, bool frozen_dropout) {
    apply_freezing(model, {.kind = FreezeSpec::Kind::patterns, .patterns = std::move(frozen)}, frozen_dropout);
    return !at::equal(model.cls_hidden(input_, dropout), model.cls_hidden(input_, std::nullopt));
  };
  EXPECT_TRUE(drops({"bert.pooler"}, false));
  EXPECT_TRUE(drops({"bert.encoder.layer.1", "bert.encoder.layer.2"}, false));
  EXPECT_TRUE(drops({"bert.encoder"}, true));
  EXPECT_FALSE(drops({"bert.encoder"}, false));
  model.cls_hidden(input_, dropout).sum().backward();
  EXPECT_TRUE(model.parameters().front().tensor.grad().defined());  // what is below them is trained
}

TEST_F(BertTest, ForwardLeavesTheCallersGradientModeAlone) {
  apply_freezing(model_, {.kind = FreezeSpec::Kind::embeddings}, false);
  const c10::AutoGradMode no_grad(false);
  EXPECT_FALSE(model_.logits(input_, dropout).requires_grad());
  EXPECT_FALSE(c10::GradMode::is_enabled());
}

TEST_F(BertTest, InitialWeightsDependOnSeedAndNameOnly) {
  BertConfig config = small_config();
  config.num_hidden_layers = 1;
  config.id2label = {"x", "y"};
  const BertForSequenceClassification other = BertForSequenceClassification::from_config(config, 1);
  const BertForSequenceClassification reseeded = BertForSequenceClassification::from_config(config, 2);
  EXPECT_TRUE(at::equal(other.parameters()[0].tensor, model_.parameters()[0].tensor));
  EXPECT_FALSE(at::equal(reseeded.parameters()[0].tensor, model_.parameters()[0].tensor));
  EXPECT_FALSE(at::equal(model_.parameters()[5].tensor, model_.parameters()[7].tensor));  // query and key

  config.vocab_size = 20'000;
  const at::Tensor words = BertForSequenceClassification::from_config(config, 1).parameters()[0].tensor;
  const double n = static_cast<double>(words.numel());
  EXPECT_NEAR(words.mean().item<double>(), 0.0, 5 * 0.2 / std::sqrt(n));
  EXPECT_NEAR(words.std().item<double>(), 0.2, 5 * 0.2 / std::sqrt(2 * n));
  const double fourth_moment = words.div(0.2).pow(4).mean().item<double>();
  EXPECT_NEAR(fourth_moment, 3.0, 5 * std::sqrt(96 / n));
}

}  // namespace
}  // namespace bertdist
