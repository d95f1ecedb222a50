#include "train/run_identity.h"

#include <fmt/core.h>

#include "base/error.h"
#include "train/run_schedule.h"

namespace bertdist {

nlohmann::ordered_json RunIdentity::to_json() const {
  return {{"world_size", world_size},
          {"num_threads", num_threads},
          {"device", device},
          {"frozen_dtype", frozen_dtype},
          {"global_batch_size", global_batch_size},
          {"seed", seed},
          {"train_data", train_data},
          {"frozen_weights", frozen_weights},
          {"best_by", best_by},
          {"validation_data", validation_data}};
}

RunIdentity RunIdentity::from_json(const nlohmann::ordered_json& json, const std::string& source) {
  try {
    return {.world_size = json.at("world_size"),
            .num_threads = json.at("num_threads"),
            .device = json.at("device"),
            .frozen_dtype = json.at("frozen_dtype"),
            .global_batch_size = json.at("global_batch_size"),
            .seed = json.at("seed"),
            .train_data = json.at("train_data"),
            .frozen_weights = json.at("frozen_weights"),
            .best_by = json.at("best_by"),
            .validation_data = json.at("validation_data")};
  } catch (const nlohmann::json::exception& error) {
    throw Error(ExitCode::data,
                fmt::format("'{}' is damaged, or of another version of bertdist: {}", source, error.what()));
  }
}

RunIdentity identity_before_loading(const Config& config, int world_size, int num_threads, at::ScalarType frozen_dtype,
                                    bool on_gpu) {
  const bool frozen_layers_run_apart = config.freeze.kind != Config::Freeze::Kind::none && !config.frozen_dropout;
  std::string best_by =
      fmt::format("{} {}", config.greater_is_better ? "greatest" : "least", config.metric_for_best_model);
  if (config.metric_for_best_model == "loss" && config.label_smoothing_factor > 0) {
    best_by += fmt::format(" smoothed by {}", config.label_smoothing_factor);
  }
  return {.world_size = world_size,
          .num_threads = num_threads,
          .device = on_gpu ? "GPU" : "CPU",
          .frozen_dtype = !frozen_layers_run_apart        ? ""
                          : frozen_dtype == at::kBFloat16 ? "bfloat16"
                                                          : "float32",
          .global_batch_size = global_batch_size(config, world_size),
          .seed = config.seed,
          .train_data = {},
          .frozen_weights = {},
          .best_by = std::move(best_by),
          .validation_data = {}};
}

void require_resumable(const RunIdentity& saved, const RunIdentity& current) {
  const auto require = [](bool same, const std::string& difference, const char* hint) {
    if (!same) throw Error(ExitCode::configuration, "cannot resume: " + difference, hint);
  };
  const auto require_hash = [&](const std::string& of_saved, const std::string& of_current, const char* difference,
                                const char* hint) {
    require(of_current.empty() || of_saved == of_current, difference, hint);
  };
  require(saved.global_batch_size == current.global_batch_size,
          fmt::format("the checkpoint's global batch is {} rows, this run's {}", saved.global_batch_size,
                      current.global_batch_size),
          "set global_batch_size to the checkpoint's: it then does not follow from the number of ranks");
  require(saved.seed == current.seed,
          fmt::format("the checkpoint's seed is {}, this run's {}", saved.seed, current.seed),
          "use the checkpoint's seed");
  require_hash(
      saved.train_data, current.train_data, "the checkpoint was trained on other rows",
      "use the same train_file, columns, tokenizer and max_train_samples; to go on from its weights with other data, "
      "name the checkpoint as model_name_or_path");
  require_hash(saved.frozen_weights, current.frozen_weights,
               "the checkpoint was trained on top of other frozen weights, or with another choice of frozen parameters",
               "name the model that the run began with as model_name_or_path, with the same freeze; to go on from the "
               "checkpoint's weights in another way, name the checkpoint as model_name_or_path");
}

}  // namespace bertdist
