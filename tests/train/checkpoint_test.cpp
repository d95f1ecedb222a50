#include "train/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace {
bool removals_fail = false;
}  // namespace

// Instead of libc's, by which std::filesystem empties a folder.
extern "C" int unlinkat(int folder, const char* name, int flags) noexcept {
  if (!removals_fail) return static_cast<int>(::syscall(SYS_unlinkat, folder, name, flags));
  errno = EIO;
  return -1;
}

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

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "tokenizer");
    std::ofstream(folder_ / "tokenizer" / "vocab.txt") << "[PAD]\n";
    for (int step = 0; step < 3; ++step) {
      parameters_.gradients().normal_();
      optimizer_.step(1e-2);
    }
  }
  ~CheckpointTest() override { fs::remove_all(folder_); }

  void save(std::int64_t step) {
    TrainerState state;
    state.global_step = step;
    store_.save(model_, parameters_, {parameters_, optimizer_, {}, state, identity_});
  }

  const fs::path folder_ = fs::path(testing::TempDir()) /
                           (std::string("checkpoint_") + testing::UnitTest::GetInstance()->current_test_info()->name());
  const CheckpointStore store_{folder_ / "out", folder_ / "tokenizer", "seed = 1\n"};
  const RunIdentity identity_{.world_size = 2,
                              .num_threads = 3,
                              .frozen_dtype = "float32",
                              .global_batch_size = 8,
                              .seed = 1,
                              .train_data = "x",
                              .frozen_weights = "w",
                              .best_by = "least loss",
                              .validation_data = "v"};
  BertForSequenceClassification model_ = BertForSequenceClassification::from_config(small_config(), 1);
  FlatParameters parameters_{trainable(model_)};
  AdamW optimizer_{parameters_, {}};
};

TEST_F(CheckpointTest, GivesBackEveryBit) {
  save(3);
  const fs::path checkpoint = store_.path_of(3);
  for (const char* name : {"config.json", "vocab.txt", "config.toml"}) EXPECT_TRUE(fs::exists(checkpoint / name));

  auto other = BertForSequenceClassification::from_config(small_config(), 2);
  FlatParameters parameters(trainable(other));
  AdamW optimizer(parameters, {});
  ASSERT_FALSE(at::equal(parameters.values(), parameters_.values()));
  load_parameters(checkpoint, parameters);
  load_optimizer(checkpoint, parameters, optimizer);
  EXPECT_TRUE(at::equal(parameters.values(), parameters_.values()));
  EXPECT_TRUE(at::equal(optimizer.exp_avg(), optimizer_.exp_avg()));
  EXPECT_TRUE(at::equal(optimizer.exp_avg_sq(), optimizer_.exp_avg_sq()));
  EXPECT_EQ(optimizer.num_updates(), 3);
  EXPECT_EQ(load_trainer_state(checkpoint).global_step, 3);
  EXPECT_EQ(load_run_identity(checkpoint).to_json(), identity_.to_json());
}

TEST_F(CheckpointTest, KeepsTheBestWeightsBesideTheLast) {
  save(3);
  EXPECT_FALSE(load_best_values(store_.path_of(3), parameters_).defined());
  TrainerState state;
  state.global_step = 4;
  const at::Tensor best = parameters_.values().clone().mul_(2);
  store_.save(model_, parameters_, {parameters_, optimizer_, best, state, identity_});
  const at::Tensor loaded = load_best_values(store_.path_of(4), parameters_);
  EXPECT_TRUE(at::equal(loaded, best));
  FlatParameters last(trainable(model_));
  load_parameters(store_.path_of(4), last);
  EXPECT_TRUE(at::equal(last.values(), parameters_.values()));
}

class FrozenCheckpointTest : public CheckpointTest {
 protected:
  static std::vector<TrainableParameter> classifier(BertForSequenceClassification& model) {
    std::vector<TrainableParameter> parameters;
    for (NamedParameter& parameter : model.parameters()) {
      if (parameter.name.starts_with("classifier.")) parameters.push_back({parameter.name, parameter.tensor});
    }
    return parameters;
  }
  void save_head(std::int64_t step, const std::string& frozen_weights) {
    TrainerState state;
    state.global_step = step;
    RunIdentity identity = identity_;
    identity.frozen_weights = frozen_weights;
    head_.values().fill_(static_cast<double>(step));
    store_.save(head_model_, head_, {head_, head_optimizer_, {}, state, identity});
  }
  fs::path frozen_shard(std::int64_t step) const { return store_.path_of(step) / "model-00001-of-00002.safetensors"; }
  // Every parameter of the model that the folder gives is the saved one.
  void expect_loads(std::int64_t step) {
    LoadReport report;
    auto loaded = BertForSequenceClassification::from_pretrained(store_.path_of(step), {}, report);
    EXPECT_TRUE(report.initialized.empty() && report.unused.empty());
    head_.values().fill_(static_cast<double>(step));
    for (std::size_t i = 0; i < loaded.parameters().size(); ++i) {
      EXPECT_TRUE(at::equal(loaded.parameters()[i].tensor, head_model_.parameters()[i].tensor));
    }
  }

  BertForSequenceClassification head_model_ = BertForSequenceClassification::from_config(small_config(), 3);
  FlatParameters head_{classifier(head_model_)};
  AdamW head_optimizer_{head_, {}};
};

TEST_F(FrozenCheckpointTest, FrozenWeightsAreStoredOnce) {
  for (const int step : {1, 2, 3}) save_head(step, "w");
  EXPECT_EQ(fs::hard_link_count(frozen_shard(1)), 3);
  EXPECT_TRUE(fs::equivalent(frozen_shard(1), frozen_shard(3)));
  store_.rotate(1, "");
  EXPECT_FALSE(fs::exists(store_.path_of(1)));
  expect_loads(3);

  auto other = BertForSequenceClassification::from_config(small_config(), 2);
  FlatParameters parameters(classifier(other));
  load_parameters(store_.path_of(3), parameters);
  EXPECT_TRUE(at::equal(parameters.values(), head_.values()));
}

TEST_F(FrozenCheckpointTest, OtherFrozenWeightsAreWritten) {
  save_head(1, "w");
  save_head(2, "v");
  EXPECT_EQ(fs::hard_link_count(frozen_shard(1)), 1);
  expect_loads(2);
}

TEST_F(FrozenCheckpointTest, ADamagedShardIsNotPassedOn) {
  save_head(1, "w");
  fs::resize_file(frozen_shard(1), fs::file_size(frozen_shard(1)) - 9);
  save_head(2, "w");
  expect_loads(2);
}

TEST_F(CheckpointTest, TheHighestStepThatIsCompleteIsTheNewest) {
  EXPECT_TRUE(store_.newest_first().empty());
  save(9);
  save(10);
  fs::create_directories(folder_ / "out" / "checkpoint-99");
  fs::create_directories(folder_ / "out" / ".checkpoint-100.1.tmp");
  fs::create_directories(folder_ / "out" / "checkpoint-final");
  EXPECT_EQ(store_.newest_first(), (std::vector{store_.path_of(10), store_.path_of(9)}));
}

TEST_F(CheckpointTest, RotationKeepsTheBestAndTheNewest) {
  for (const int step : {1, 2, 3, 4}) save(step);
  store_.rotate(2, store_.path_of(1).string());
  EXPECT_TRUE(fs::exists(store_.path_of(1)));
  EXPECT_FALSE(fs::exists(store_.path_of(2)));
  EXPECT_FALSE(fs::exists(store_.path_of(3)));
  EXPECT_TRUE(fs::exists(store_.path_of(4)));
}

TEST_F(CheckpointTest, OverwritingLeavesWhatTheRunDidNotWrite) {
  save(1);
  store_.save_final_model(model_, {});
  fs::create_directories(folder_ / "out" / "checkpoint-final");
  const std::vector<std::string> others = {"checkpoint-12", "checkpoint-final/notes", "my_results.json", "thesis.tex"};
  for (const std::string& name : others) std::ofstream(folder_ / "out" / name) << "years of work";
  for (const char* name : {"eval_results.json", "run_log.jsonl", "tokenizer.json"}) {
    std::ofstream(folder_ / "out" / name) << "{}";
  }
  store_.remove_previous_run();
  std::vector<std::string> left;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "out")) {
    if (!entry.is_directory()) left.push_back(fs::relative(entry.path(), folder_ / "out").string());
  }
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, others);
  EXPECT_FALSE(fs::exists(store_.path_of(1)));
}

TEST_F(CheckpointTest, WhatComesAfterAStepCanBeTakenAway) {
  for (const int step : {5, 10, 15, 20}) save(step);
  fs::remove(store_.path_of(15) / "trainer_state.json");
  EXPECT_EQ(store_.remove_after(10), (std::vector{store_.path_of(15), store_.path_of(20)}));
  EXPECT_EQ(store_.newest_first(), (std::vector{store_.path_of(10), store_.path_of(5)}));
  EXPECT_FALSE(fs::exists(store_.path_of(15)));
}

TEST_F(CheckpointTest, ARemovalThatIsCutShortLeavesNothingByItsName) {
  for (const int step : {5, 10}) save(step);
  removals_fail = true;
  EXPECT_THROW(store_.rotate(1, ""), Error);
  removals_fail = false;
  EXPECT_FALSE(fs::exists(store_.path_of(5)));
  EXPECT_EQ(store_.newest_first(), std::vector{store_.path_of(10)});
  store_.remove_unfinished();
  for (const auto& entry : fs::directory_iterator(folder_ / "out")) {
    EXPECT_FALSE(entry.path().filename().string().ends_with(".tmp")) << entry.path();
  }
}

TEST_F(CheckpointTest, WhatAKilledWriterLeftGoes) {
  for (const char* name : {".checkpoint-7.12.tmp", ".model.safetensors.12.tmp", ".notes.tmp"}) {
    fs::create_directories(folder_ / "out" / name);
  }
  store_.remove_unfinished();
  EXPECT_FALSE(fs::exists(folder_ / "out" / ".checkpoint-7.12.tmp"));
  EXPECT_FALSE(fs::exists(folder_ / "out" / ".model.safetensors.12.tmp"));
  EXPECT_TRUE(fs::exists(folder_ / "out" / ".notes.tmp"));
}

TEST_F(CheckpointTest, NoModelIsSavedWithoutItsTokenizer) {
  fs::remove(folder_ / "tokenizer" / "vocab.txt");
  EXPECT_THROW(save(1), Error);
  EXPECT_FALSE(fs::exists(store_.path_of(1)));
  EXPECT_THROW(store_.save_final_model(model_, {}), Error);
}

TEST_F(CheckpointTest, AnotherModelsCheckpointIsRefused) {
  save(1);
  BertConfig config = small_config();
  config.hidden_size = 16;
  auto other = BertForSequenceClassification::from_config(config, 2);
  FlatParameters parameters(trainable(other));
  EXPECT_THROW(load_parameters(store_.path_of(1), parameters), Error);
}

}  // namespace
}  // namespace bertdist
