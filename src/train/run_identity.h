#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "config/config.h"

namespace bertdist {

// Which run a checkpoint is of: run_identity.json.
struct RunIdentity {
  // What only decides the last bits.
  int world_size = 1;
  int num_threads = 1;
  std::string device = "CPU";  // or "GPU"
  std::string frozen_dtype;    // of the frozen layers' products; empty where none run apart from the trained ones

  // What decides the steps. The hashes are empty as long as nothing is loaded.
  std::int64_t global_batch_size = 0;
  std::int64_t seed = 0;
  std::string train_data;      // TokenCache::content_hash() and the selection of rows
  std::string frozen_weights;  // hash of the parameters that are not trained

  // What decides which evaluation is the best.
  std::string best_by;          // "least loss"
  std::string validation_data;  // as train_data; empty without a validation set

  nlohmann::ordered_json to_json() const;
  // Throws Error(data); `source` names the file in the message.
  static RunIdentity from_json(const nlohmann::ordered_json& json, const std::string& source);
};

// What the configuration and the machine tell before anything is tokenised or loaded.
RunIdentity identity_before_loading(const Config& config, int world_size, int num_threads, at::ScalarType frozen_dtype,
                                    bool on_gpu = false);

// Throws Error(configuration) where continuing `saved` as `current` would be another run. Hashes that `current` does
// not have yet are not compared.
void require_resumable(const RunIdentity& saved, const RunIdentity& current);

}  // namespace bertdist
