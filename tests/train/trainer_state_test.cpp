#include "train/trainer_state.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace bertdist {
namespace {

TrainerState sample_state() {
  TrainerState state;
  state.global_step = 7;
  state.max_steps = 20;
  state.epoch = 1.0 / 3.0;
  state.num_train_epochs = 3;
  state.train_batch_size = 8;
  state.best_metric = 0.1 + 0.2;
  state.best_global_step = 5;
  state.best_model_checkpoint = "runs/x/checkpoint-5";
  state.evaluations_without_progress = 2;
  state.loss_since_log = 1e-300;
  state.steps_since_log = 3;
  state.total_loss = 4.9406564584124654e-324;
  state.num_input_tokens_seen = 1234567;
  state.log_history.push_back({{"step", 5}, {"eval_loss", 0.1}});
  return state;
}

TEST(TrainerState, SurvivesJsonWithAllBits) {
  const TrainerState state = sample_state();
  const std::string text = state.to_json().dump(2);
  const TrainerState read = TrainerState::from_json(nlohmann::ordered_json::parse(text), "test");
  EXPECT_EQ(read.to_json(), state.to_json());
  EXPECT_EQ(read.epoch, state.epoch);
  EXPECT_EQ(read.total_loss, state.total_loss);
  EXPECT_EQ(*read.best_metric, 0.1 + 0.2);
}

TEST(TrainerState, SaysThatNothingIsBestYetAsHuggingFaceDoes) {
  const nlohmann::ordered_json json = TrainerState().to_json();
  EXPECT_TRUE(json.at("best_metric").is_null());
  EXPECT_TRUE(json.at("best_model_checkpoint").is_null());
  EXPECT_FALSE(TrainerState::from_json(json, "test").best_metric);
}

TEST(TrainerState, ForgetsWhatWasBestAndHowLongAgo) {
  TrainerState state = sample_state();
  state.forget_best();
  EXPECT_EQ(state.global_step, 7);
  EXPECT_FALSE(state.best_metric || state.best_global_step);
  EXPECT_EQ(state.best_model_checkpoint, "");
  EXPECT_EQ(state.evaluations_without_progress, 0);
}

TEST(TrainerState, RefusesAnotherProgramsState) {
  const nlohmann::ordered_json foreign{{"global_step", 3}, {"log_history", nlohmann::json::array()}};
  try {
    TrainerState::from_json(foreign, "x/trainer_state.json");
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_NE(std::string(error.what()).find("x/trainer_state.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace bertdist
