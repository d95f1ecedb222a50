#include "train/trainer_state.h"

#include <fmt/core.h>

#include "base/error.h"

namespace bertdist {

namespace {

template <typename T>
nlohmann::ordered_json or_null(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

template <typename T>
std::optional<T> optional_at(const nlohmann::ordered_json& json, const char* key) {
  const auto& value = json.at(key);
  return value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
}

}  // namespace

void TrainerState::forget_best() {
  best_metric.reset();
  best_global_step.reset();
  best_model_checkpoint.clear();
  evaluations_without_progress = 0;
}

nlohmann::ordered_json TrainerState::to_json() const {
  nlohmann::ordered_json json;
  json["best_global_step"] = or_null(best_global_step);
  json["best_metric"] = or_null(best_metric);
  json["best_model_checkpoint"] =
      best_model_checkpoint.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(best_model_checkpoint);
  json["epoch"] = epoch;
  json["global_step"] = global_step;
  json["is_local_process_zero"] = true;
  json["is_world_process_zero"] = true;
  json["max_steps"] = max_steps;
  json["num_train_epochs"] = num_train_epochs;
  json["num_input_tokens_seen"] = num_input_tokens_seen;
  json["train_batch_size"] = train_batch_size;
  json["evaluations_without_progress"] = evaluations_without_progress;
  json["loss_since_log"] = loss_since_log;
  json["steps_since_log"] = steps_since_log;
  json["total_loss"] = total_loss;
  json["log_history"] = log_history;
  return json;
}

TrainerState TrainerState::from_json(const nlohmann::ordered_json& json, const std::string& source) {
  try {
    TrainerState state;
    state.best_global_step = optional_at<std::int64_t>(json, "best_global_step");
    state.best_metric = optional_at<double>(json, "best_metric");
    state.best_model_checkpoint = optional_at<std::string>(json, "best_model_checkpoint").value_or("");
    state.epoch = json.at("epoch");
    state.global_step = json.at("global_step");
    state.max_steps = json.at("max_steps");
    state.num_train_epochs = json.at("num_train_epochs");
    state.num_input_tokens_seen = json.at("num_input_tokens_seen");
    state.train_batch_size = json.at("train_batch_size");
    state.evaluations_without_progress = json.at("evaluations_without_progress");
    state.loss_since_log = json.at("loss_since_log");
    state.steps_since_log = json.at("steps_since_log");
    state.total_loss = json.at("total_loss");
    state.log_history = json.at("log_history").get<nlohmann::ordered_json::array_t>();
    if (state.global_step < 0 || state.steps_since_log < 0) {
      throw Error(ExitCode::data, fmt::format("'{}' counts {} steps", source, state.global_step),
                  "resume from another checkpoint");
    }
    return state;
  } catch (const nlohmann::json::exception& error) {
    throw Error(ExitCode::data, fmt::format("'{}' is not a training state of bertdist: {}", source, error.what()),
                "resume from a checkpoint that bertdist wrote; to start from another program's model, name its folder "
                "as model_name_or_path");
  }
}

}  // namespace bertdist
