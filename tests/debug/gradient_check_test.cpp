#include "debugging/gradient_check.h"

#include <gmock/gmock.h>

#include "model/freezing.h"
#include "model/model_test_tools.h"

namespace bertdist {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr double kTolerance = 1e-6;

TEST(GradientCheck, GradientsOfEachParameterAgreeWithDifferences) {
  for (const char* activation : {"gelu", "gelu_new", "silu"}) {
    for (const double smoothing : {0.0, 0.1}) {
      BertConfig config = small_config();
      config.hidden_act = activation;
      const GradientSample sample = make_gradient_sample(config, smoothing, 5);
      const auto comparisons = compare_with_differences(sample, autograd_gradients(sample), kTolerance);
      EXPECT_EQ(comparisons.size(), sample.model.parameters().size());
      EXPECT_THAT(require_agreement(comparisons), HasSubstr("the gradients of 57 parameters in 30 modules agree"));
    }
  }
}

TEST(GradientCheck, SoDoThoseThatATrainingHasInFloat32) {
  constexpr double kFloat32Tolerance = 1e-3;
  const GradientSample sample = make_gradient_sample(small_config(), 0.1, 5);
  const double before = sample.loss().item<double>();
  Gradients gradients = training_gradients(sample);
  EXPECT_EQ(gradients.size(), sample.model.parameters().size());
  EXPECT_EQ(sample.loss().item<double>(), before) << "the sample stays in float64";
  for (const auto& [name, gradient] : gradients) EXPECT_EQ(gradient.scalar_type(), at::kFloat) << name;
  require_agreement(compare_with_differences(sample, gradients, kFloat32Tolerance));

  gradients.at("bert.encoder.layer.1.attention.self.key.weight") *= 1.01;
  const Error error =
      error_of([&] { require_agreement(compare_with_differences(sample, gradients, kFloat32Tolerance)); });
  EXPECT_THAT(error.what(), HasSubstr("the gradient of module bert.encoder.layer.1.attention.self.key is wrong"));
}

TEST(GradientCheck, ComparesWhatIsTrained) {
  GradientSample sample = make_gradient_sample(small_config(), 0, 5);
  apply_freezing(sample.model, {.kind = FreezeSpec::Kind::first_layers, .first_layers = 2, .patterns = {}}, false);
  const auto comparisons = compare_with_differences(sample, autograd_gradients(sample), kTolerance);
  EXPECT_EQ(comparisons.front().parameter, "bert.encoder.layer.2.attention.self.query.weight");
  EXPECT_THAT(require_agreement(comparisons), HasSubstr("20 parameters in 10 modules"));
}

TEST(GradientCheck, NamesTheModuleNearestToTheLoss) {
  const GradientSample sample = make_gradient_sample(small_config(), 0, 5);
  Gradients gradients = autograd_gradients(sample);
  for (const char* name : {"bert.embeddings.LayerNorm.bias", "bert.encoder.layer.1.output.dense.weight"}) {
    gradients.at(name) = gradients.at(name) * 1.0001;
  }
  const Error error = error_of([&] { require_agreement(compare_with_differences(sample, gradients, kTolerance)); });
  EXPECT_EQ(error.code(), ExitCode::gradient);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("the gradient of module bert.encoder.layer.1.output.dense is wrong"),
                                  HasSubstr("bert.embeddings.LayerNorm.bias"), Not(HasSubstr("pooler"))));
}

TEST(GradientCheck, LeavesTheWeightsAsTheyWere) {
  const GradientSample sample = make_gradient_sample(small_config(), 0, 5);
  const double before = sample.loss().item<double>();
  compare_with_differences(sample, autograd_gradients(sample), kTolerance);
  EXPECT_EQ(sample.loss().item<double>(), before);
}

}  // namespace
}  // namespace bertdist
