#include "train/checkpoint_writer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "base/error.h"

namespace bertdist {
namespace {
namespace fs = std::filesystem;

BertConfig small_config() {
  BertConfig config;
  config.vocab_size = 20;
  config.hidden_size = 8;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.intermediate_size = 16;
  config.max_position_embeddings = 16;
  return config;
}

std::vector<TrainableParameter> trainable(BertForSequenceClassification& model) {
  std::vector<TrainableParameter> parameters;
  for (NamedParameter& parameter : model.parameters()) {
    parameter.tensor.requires_grad_(true);
    parameters.push_back({parameter.name, parameter.tensor});
  }
  return parameters;
}

// What is written goes on only once it may.
class HeldProgress final : public Progress {
 public:
  void enter(std::string_view activity) override { last_activity = activity; }
  void set_step(std::int64_t) override {}
  void advance() override { released_.wait(); }
  void release() { release_.set_value(); }

  std::string last_activity;

 private:
  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();
};

class CheckpointWriterTest : public testing::Test {
 protected:
  CheckpointWriterTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "tokenizer");
    std::ofstream(folder_ / "tokenizer" / "vocab.txt") << "[PAD]\n";
  }
  ~CheckpointWriterTest() override { fs::remove_all(folder_); }

  TrainingSnapshot snapshot(std::int64_t step) const {
    TrainerState state;
    state.global_step = step;
    return {parameters_, optimizer_, {}, state, RunIdentity{}};
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) /
      (std::string("checkpoint_writer_") + testing::UnitTest::GetInstance()->current_test_info()->name());
  const CheckpointStore store_{folder_ / "out", folder_ / "tokenizer", "seed = 1\n"};
  BertForSequenceClassification model_ = BertForSequenceClassification::from_config(small_config(), 1);
  FlatParameters parameters_{trainable(model_)};
  AdamW optimizer_{parameters_, {}};
  HeldProgress progress_;
  CheckpointWriter writer_{store_, model_, parameters_, progress_};
};

TEST_F(CheckpointWriterTest, WritesWhatWasThereWhileTrainingGoesOn) {
  const at::Tensor then = parameters_.values().clone();
  writer_.start(snapshot(3), {});
  parameters_.values().fill_(7);
  EXPECT_TRUE(store_.newest_first().empty()) << "it is being written";
  progress_.release();
  writer_.finish();
  EXPECT_EQ(progress_.last_activity, "writing checkpoint-3") << "what the others are told that this rank does";
  auto other = BertForSequenceClassification::from_config(small_config(), 2);
  FlatParameters loaded(trainable(other));
  load_parameters(store_.path_of(3), loaded);
  EXPECT_TRUE(at::equal(loaded.values(), then));
}

TEST_F(CheckpointWriterTest, OneAfterTheOtherAndNoMoreThanTheLimit) {
  progress_.release();
  for (const int step : {1, 2, 3, 4}) writer_.start(snapshot(step), 2);
  writer_.finish();
  EXPECT_EQ(store_.newest_first(), (std::vector{store_.path_of(4), store_.path_of(3)}));
}

TEST_F(CheckpointWriterTest, IsWaitedForAtTheEnd) {
  progress_.release();
  { CheckpointWriter(store_, model_, parameters_, progress_).start(snapshot(1), {}); }
  EXPECT_EQ(store_.newest_first(), std::vector{store_.path_of(1)});
}

TEST_F(CheckpointWriterTest, AFailureIsThrownByTheNextCall) {
  progress_.release();
  std::ofstream(folder_ / "out") << "in the way";
  const auto failure = [](const auto& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    return ExitCode::internal;
  };
  writer_.start(snapshot(1), {});
  EXPECT_EQ(failure([&] { writer_.start(snapshot(2), {}); }), ExitCode::output);
  writer_.finish();  // told once
  writer_.start(snapshot(3), {});
  EXPECT_EQ(failure([&] { writer_.finish(); }), ExitCode::output);
}

}  // namespace
}  // namespace bertdist
