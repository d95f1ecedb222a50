#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace bertdist {

// How far a run has come: trainer_state.json, with Hugging Face's keys. Doubles keep all their bits.
struct TrainerState {
  std::int64_t global_step = 0;  // optimiser steps done
  std::int64_t max_steps = 0;
  double epoch = 0;
  double num_train_epochs = 0;
  std::int64_t train_batch_size = 0;

  std::optional<double> best_metric;
  std::optional<std::int64_t> best_global_step;
  std::string best_model_checkpoint;              // empty: none yet
  std::int64_t evaluations_without_progress = 0;  // in a row; what early_stopping_patience counts

  // Sums of the steps' losses, from which the reported means follow.
  double loss_since_log = 0;
  std::int64_t steps_since_log = 0;
  double total_loss = 0;
  std::int64_t num_input_tokens_seen = 0;

  nlohmann::ordered_json log_history = nlohmann::ordered_json::array();

  void forget_best();  // the next evaluation is the best one, and patience is as at the start

  nlohmann::ordered_json to_json() const;
  // Throws Error(data) where a key is missing or of another type; `source` names the file in the message.
  static TrainerState from_json(const nlohmann::ordered_json& json, const std::string& source);
};

}  // namespace bertdist
