#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "base/progress.h"
#include "model/bert.h"

namespace bertdist {

// Writes config.json and the weights of a checkpoint into the folder of an AtomicDirectory, readable by transformers:
// of the parameters in `trained`, {name: values}, these, of the others the model's own. A model that is frozen in part
// becomes two shards (model.safetensors.index.json): what is not in `trained`, then what is. The first is the same in
// every checkpoint of a run, so it is a hard link to that of `earlier`, a checkpoint with the same frozen weights,
// where there is one (an empty path: there is none) and the file system has links; else it is written. `progress` may
// be null where no other rank waits. Throws Error(output).
void save_checkpoint_weights(const BertForSequenceClassification& model,
                             const std::map<std::string, at::Tensor>& trained, const std::filesystem::path& folder,
                             const std::filesystem::path& earlier, Progress* progress);

// The file of such a checkpoint that holds all trained parameters.
std::filesystem::path trained_weights_file(const std::filesystem::path& checkpoint);

}  // namespace bertdist
