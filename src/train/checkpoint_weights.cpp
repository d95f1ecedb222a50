#include "train/checkpoint_weights.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "model/safetensors.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

constexpr const char* kWholeModel = "model.safetensors";
constexpr const char* kFrozenShard = "model-00001-of-00002.safetensors";
constexpr const char* kTrainedShard = "model-00002-of-00002.safetensors";

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

bool holds(const fs::path& shard, const NamedTensors& tensors) {
  try {
    const SafetensorsFile file(shard);
    return std::all_of(tensors.begin(), tensors.end(), [&](const auto& named) {
      const auto entry = file.entries().find(named.first);
      return entry != file.entries().end() && entry->second.shape == named.second.sizes().vec();
    });
  } catch (const Error&) {
    return false;  // missing or damaged
  }
}

bool link_file(const fs::path& existing, const fs::path& link) {
  std::error_code error;
  fs::create_hard_link(existing, link, error);
  return !error;
}

}  // namespace

void save_checkpoint_weights(const BertForSequenceClassification& model,
                             const std::map<std::string, at::Tensor>& trained, const fs::path& folder,
                             const fs::path& earlier, Progress* progress) {
  model.save_config(folder);
  NamedTensors frozen_tensors;
  NamedTensors trained_tensors;
  nlohmann::ordered_json weight_map;
  std::size_t total_size = 0;  // bytes
  for (const NamedParameter& parameter : model.parameters()) {
    const auto found = trained.find(parameter.name);
    const bool is_trained = found != trained.end();
    (is_trained ? trained_tensors : frozen_tensors)
        .emplace_back(parameter.name, is_trained ? found->second : parameter.tensor);
    weight_map[parameter.name] = is_trained ? kTrainedShard : kFrozenShard;
    total_size += parameter.tensor.nbytes();
  }
  if (frozen_tensors.empty()) {
    write_safetensors(folder / kWholeModel, trained_tensors, progress);
    return;
  }
  const fs::path earlier_shard = earlier / kFrozenShard;
  if (!holds(earlier_shard, frozen_tensors) || !link_file(earlier_shard, folder / kFrozenShard)) {
    write_safetensors(folder / kFrozenShard, frozen_tensors, progress);
  }
  write_safetensors(folder / kTrainedShard, trained_tensors, progress);
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_size}}}, {"weight_map", weight_map}};
  write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

fs::path trained_weights_file(const fs::path& checkpoint) {
  const fs::path shard = checkpoint / kTrainedShard;
  return fs::exists(shard) ? shard : checkpoint / kWholeModel;
}

}  // namespace bertdist
