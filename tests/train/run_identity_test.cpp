#include "train/run_identity.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace bertdist {
namespace {

RunIdentity sample_identity() {
  return {.world_size = 2,
          .num_threads = 3,
          .device = "GPU",
          .frozen_dtype = "bfloat16",
          .global_batch_size = 8,
          .seed = 1,
          .train_data = "x",
          .frozen_weights = "w",
          .best_by = "least loss",
          .validation_data = "v"};
}

TEST(RunIdentity, SurvivesJson) {
  const RunIdentity identity = sample_identity();
  EXPECT_EQ(RunIdentity::from_json(identity.to_json(), "test").to_json(), identity.to_json());
  auto json = identity.to_json();
  EXPECT_EQ(identity_before_loading({}, 1, 1, at::kFloat, /*on_gpu=*/true).to_json().at("device"), "GPU");
  EXPECT_EQ(identity_before_loading({}, 1, 1, at::kFloat).to_json().at("device"), "CPU");
  json.erase("seed");
  EXPECT_THROW(RunIdentity::from_json(json, "test"), Error);
}

TEST(RunIdentity, WhatDecidesTheStepsMustBeTheSame) {
  for (const auto& change : std::vector<void (*)(RunIdentity&)>{
           [](RunIdentity& i) { i.global_batch_size = 16; }, [](RunIdentity& i) { i.seed = 2; },
           [](RunIdentity& i) { i.train_data = "y"; }, [](RunIdentity& i) { i.frozen_weights = "v"; }}) {
    RunIdentity other = sample_identity();
    change(other);
    EXPECT_THROW(require_resumable(sample_identity(), other), Error);
  }
}

TEST(RunIdentity, TheRestMayDiffer) {
  RunIdentity other = sample_identity();
  other.world_size = 4;
  other.num_threads = 1;
  other.device = "CPU";
  other.frozen_dtype = "float32";
  other.best_by = "greatest accuracy";
  other.validation_data = "";
  require_resumable(sample_identity(), other);
}

TEST(RunIdentity, BeforeLoadingOnlyWhatIsKnownIsCompared) {
  Config config;
  config.global_batch_size = 8;
  config.seed = 1;
  require_resumable(sample_identity(), identity_before_loading(config, 2, 3, at::kFloat));
  config.seed = 2;
  EXPECT_THROW(require_resumable(sample_identity(), identity_before_loading(config, 2, 3, at::kFloat)), Error);
}

TEST(RunIdentity, NamesTheTypeOfFrozenLayersThatRunApart) {
  Config config;
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kBFloat16).frozen_dtype, "");
  config.freeze.kind = Config::Freeze::Kind::base;
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kBFloat16).frozen_dtype, "bfloat16");
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kFloat).frozen_dtype, "float32");
  config.frozen_dropout = true;
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kBFloat16).frozen_dtype, "");
}

TEST(RunIdentity, SaysWhatTheBestIs) {
  Config config;
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kFloat).best_by, "least loss");
  config.label_smoothing_factor = 0.25;
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kFloat).best_by, "least loss smoothed by 0.25");
  config.metric_for_best_model = "f1";
  config.greater_is_better = true;
  EXPECT_EQ(identity_before_loading(config, 1, 1, at::kFloat).best_by, "greatest f1");
}

}  // namespace
}  // namespace bertdist
