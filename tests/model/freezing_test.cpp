#include "model/freezing.h"

#include <gmock/gmock.h>

#include "model/model_test_tools.h"

namespace bertdist {
namespace {
using testing::HasSubstr;
using Kind = FreezeSpec::Kind;

class FreezingTest : public testing::Test {
 protected:
  FreezingTest() : model_(BertForSequenceClassification::from_config(small_config(), 1)) {}

  std::vector<std::string> trainable(const FreezeSpec& spec) {
    const Freezing freezing = apply_freezing(model_, spec, false);
    std::vector<std::string> names;
    std::int64_t num_trainable = 0, num_total = 0;
    for (std::size_t i = 0; i < freezing.parameters.size(); ++i) {
      const ParameterStatus& status = freezing.parameters[i];
      EXPECT_EQ(status.name, model_.parameters()[i].name);
      EXPECT_EQ(status.trainable, model_.parameters()[i].tensor.requires_grad());
      num_total += status.num_elements;
      if (status.trainable) num_trainable += status.num_elements;
      if (status.trainable) names.push_back(status.name);
    }
    EXPECT_EQ(freezing.num_trainable, num_trainable);
    EXPECT_EQ(freezing.num_total, num_total);
    EXPECT_EQ(freezing.num_frozen_layers, model_.frozen_prefix().num_layers);
    return names;
  }
  std::size_t num_trainable(const FreezeSpec& spec) { return trainable(spec).size(); }
  Error error_with(const FreezeSpec& spec) {
    return error_of([&] { apply_freezing(model_, spec, false); });
  }

  BertForSequenceClassification model_;
};

constexpr std::size_t num_all = 5 + 3 * 16 + 4;

TEST_F(FreezingTest, NamedKinds) {
  EXPECT_EQ(num_trainable({}), num_all);
  EXPECT_FALSE(model_.frozen_prefix().embeddings);
  EXPECT_THAT(trainable({.kind = Kind::base}), testing::ElementsAre("classifier.weight", "classifier.bias"));
  EXPECT_EQ(model_.frozen_prefix().num_layers, 3);
  EXPECT_THAT(trainable({.kind = Kind::base_except_pooler}),
              testing::ElementsAre("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight",
                                   "classifier.bias"));
  EXPECT_EQ(num_trainable({.kind = Kind::embeddings}), num_all - 5);
  EXPECT_TRUE(model_.frozen_prefix().embeddings);
  EXPECT_EQ(model_.frozen_prefix().num_layers, 0);
}

TEST_F(FreezingTest, FirstLayersFreezeTheEmbeddingsToo) {
  for (std::int64_t layers = 0; layers <= 3; ++layers) {
    EXPECT_EQ(num_trainable({.kind = Kind::first_layers, .first_layers = layers}), num_all - 5 - 16 * layers);
    EXPECT_EQ(model_.frozen_prefix().num_layers, layers);
  }
  EXPECT_THAT(error_with({.kind = Kind::first_layers, .first_layers = 4}).what(), HasSubstr("a model with 3 layers"));
  EXPECT_EQ(error_with({.kind = Kind::first_layers, .first_layers = -1}).code(), ExitCode::configuration);
}

TEST_F(FreezingTest, PatternsAreNamesModulesOrGlobs) {
  const auto frozen_by = [&](std::vector<std::string> patterns) {
    return num_all - num_trainable({.kind = Kind::patterns, .patterns = std::move(patterns)});
  };
  EXPECT_EQ(frozen_by({"classifier.bias"}), 1u);
  EXPECT_EQ(frozen_by({"bert.encoder.layer.1"}), 16u);
  EXPECT_EQ(frozen_by({"bert.encoder.layer.1."}), 16u);
  EXPECT_EQ(frozen_by({"bert.encoder.layer.[12].*"}), 32u);
  EXPECT_EQ(frozen_by({"*.attention.*"}), 30u);
  EXPECT_EQ(frozen_by({"*.query.*", "*.query.weight"}), 6u);
}

TEST_F(FreezingTest, OnlyLayersFrozenFromTheBottomFormThePrefix) {
  num_trainable({.kind = Kind::patterns, .patterns = {"bert.encoder.layer.0"}});
  EXPECT_FALSE(model_.frozen_prefix().embeddings);
  EXPECT_EQ(model_.frozen_prefix().num_layers, 0);
  num_trainable(
      {.kind = Kind::patterns, .patterns = {"bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.2"}});
  EXPECT_EQ(model_.frozen_prefix().num_layers, 1);
}

TEST_F(FreezingTest, ThawsWhatAnEarlierCallFroze) {
  num_trainable({.kind = Kind::base});
  EXPECT_EQ(num_trainable({}), num_all);
  EXPECT_FALSE(model_.frozen_prefix().embeddings);
}

TEST_F(FreezingTest, AnUnknownPatternIsAnErrorWithTheNearestNames) {
  const Error error = error_with({.kind = Kind::patterns, .patterns = {"bert.encoder.layers.1"}});
  EXPECT_EQ(error.code(), ExitCode::configuration);
  EXPECT_THAT(error.what(), HasSubstr("'bert.encoder.layers.1'"));
  EXPECT_THAT(error.hint(), HasSubstr("bert.encoder.layer.1"));
  EXPECT_EQ(error_with({.kind = Kind::patterns, .patterns = {"bert.encoder.layer.9"}}).code(), ExitCode::configuration);
}

TEST_F(FreezingTest, FreezingEverythingIsAnError) {
  EXPECT_THAT(error_with({.kind = Kind::patterns, .patterns = {"*"}}).what(), HasSubstr("nothing to train"));
}

TEST(FreezingBertBaseTest, CountsAsTheTutorialDoes) {
  BertConfig config;  // bert-base-uncased with two labels
  BertForSequenceClassification model = BertForSequenceClassification::from_config(config, 1);
  const Freezing freezing = apply_freezing(model, {.kind = Kind::base_except_pooler}, false);
  EXPECT_EQ(freezing.num_trainable, 592'130);
  EXPECT_EQ(freezing.num_total, 109'483'778);
}

}  // namespace
}  // namespace bertdist
