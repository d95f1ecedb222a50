#include "debugging/finite_observer.h"

#include <gmock/gmock.h>

#include <set>

#include "model/model_test_tools.h"

namespace bertdist {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr Dropout dropout{42, 3};

class FiniteObserverTest : public testing::Test {
 protected:
  FiniteObserverTest()
      : model_(BertForSequenceClassification::from_config(small_config(), 1)),
        names_([](std::int64_t row) { return row; }, SourceRows("rows.csv", {}, {})),
        observer_(model_, names_),
        input_(pack(random_rows({5, 9, 5, 2}, 50), {10, 11, 12, 13})) {
    observer_.set_step(6);
  }

  at::Tensor parameter(const std::string& name) {
    for (NamedParameter& parameter : model_.parameters()) {
      if (parameter.name == name) return parameter.tensor.detach();
    }
    ADD_FAILURE() << "no parameter " << name;
    return {};
  }
  Error error_of_step() {
    model_.set_observer(&observer_);
    const Error error = error_of([&] { model_.logits(input_, dropout).sum().backward(); });
    model_.set_observer(nullptr);
    EXPECT_EQ(error.code(), ExitCode::numeric);
    return error;
  }

  BertForSequenceClassification model_;
  RowNames names_;
  FiniteObserver observer_;
  BertInput input_;
};

TEST_F(FiniteObserverTest, NothingIsFoundInAGoodModelAndNoBitChanges) {
  const auto gradients_of = [&](ModuleObserver* observer) {
    for (NamedParameter& parameter : model_.parameters()) parameter.tensor.mutable_grad().reset();
    model_.set_observer(observer);
    const at::Tensor logits = model_.logits(input_, dropout);
    logits.sum().backward();
    model_.set_observer(nullptr);
    std::vector<at::Tensor> result = {logits.detach().clone()};
    for (NamedParameter& parameter : model_.parameters()) result.push_back(parameter.tensor.grad().clone());
    return result;
  };
  const std::vector<at::Tensor> expected = gradients_of(nullptr);
  const std::vector<at::Tensor> observed = gradients_of(&observer_);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(expected[i], observed[i])) << i;
}

TEST_F(FiniteObserverTest, ModulesAreThoseThatOwnParametersAndThoseBetween) {
  struct Recorder final : ModuleObserver {
    void observe(std::string_view module, const at::Tensor& output, std::string_view,
                 const ObservedRows& rows) override {
      names.emplace(module);
      const std::int64_t num_rows = std::ssize(rows.row_ids);
      EXPECT_TRUE(output.size(0) == num_rows || output.size(0) == rows.offsets.back()) << module;
    }
    std::set<std::string> names;
  } recorder;
  model_.set_observer(&recorder);
  model_.logits(input_, dropout);
  model_.set_observer(nullptr);
  for (const NamedParameter& parameter : model_.parameters()) {
    EXPECT_TRUE(recorder.names.erase(parameter.name.substr(0, parameter.name.rfind('.'))) == 1 ||
                parameter.name.ends_with("bias"))
        << parameter.name;
  }
  EXPECT_EQ(recorder.names,
            (std::set<std::string>{"bert.encoder.layer.0.attention.self", "bert.encoder.layer.0.intermediate",
                                   "bert.encoder.layer.1.attention.self", "bert.encoder.layer.1.intermediate",
                                   "bert.encoder.layer.2.attention.self", "bert.encoder.layer.2.intermediate",
                                   "bert.pooler"}));
}

TEST_F(FiniteObserverTest, AParameterThatIsNotFiniteIsNamedWithItsModule) {
  parameter("bert.encoder.layer.1.attention.self.key.weight")[2][3] = NAN;
  EXPECT_THAT(
      error_of_step().what(),
      AllOf(HasSubstr("step 7, forward: bert.encoder.layer.1.attention.self.key is the first module whose output "
                      "is not finite"),
            HasSubstr("so is its parameter bert.encoder.layer.1.attention.self.key.weight (of 576 elements 1 "
                      "NaN and 0 Inf)"),
            HasSubstr("in 4 rows")));
}

TEST_F(FiniteObserverTest, AnActivationThatOverflowsIsNamedWithoutAParameter) {
  parameter("bert.encoder.layer.2.intermediate.dense.weight").mul_(1e30);
  parameter("bert.encoder.layer.2.output.dense.weight").mul_(1e30);
  EXPECT_THAT(error_of_step().what(),
              AllOf(HasSubstr("forward: bert.encoder.layer.2.output.dense is the first"), Not(HasSubstr("parameter"))));
}

TEST_F(FiniteObserverTest, TheRowsAreThoseInWhichItAppears) {
  // Types of the second half of a row are 1; the row of two tokens has none.
  parameter("bert.embeddings.token_type_embeddings.weight")[1][0] = INFINITY;
  EXPECT_THAT(error_of_step().what(), AllOf(HasSubstr("bert.embeddings.token_type_embeddings is the first"),
                                            HasSubstr("in 3 rows:\n  rows.csv:10\n"), HasSubstr("rows.csv:11\n"),
                                            HasSubstr("rows.csv:12"), Not(HasSubstr("rows.csv:13"))));
}

TEST_F(FiniteObserverTest, BackwardNamesTheModuleThatMadeTheGradient) {
  const at::Tensor x = at::full({4, 3}, 4.0).set_requires_grad(true);
  const at::Tensor first = x * 1.0;
  observer_.observe("a", first, "b", {input_.row_ids, {}});
  at::Tensor second = at::sqrt(first - at::tensor({0.0, 0.0, 4.0, 0.0}).unsqueeze(1));
  observer_.observe("b", second, "c", {input_.row_ids, {}});
  const Error error = error_of([&] { second.sum().backward(); });
  EXPECT_EQ(error.code(), ExitCode::numeric);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr("step 7, backward: b is the first module whose gradient is not finite: that "
                              "of its input, the output of a (of 12 elements 0 NaN and 3 Inf)"),
                    HasSubstr("in 1 row:\n  rows.csv:12")));
}

}  // namespace
}  // namespace bertdist
