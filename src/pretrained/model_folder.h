#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace bertdist {

// A model's folder: `name_or_path` itself where that is a folder, else the snapshot of its `main` in the local Hugging
// Face hub cache (HF_HUB_CACHE, its old name HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub). Nothing is downloaded. Throws Error(model) that lists every place looked at.
std::filesystem::path resolve_model_folder(const std::string& name_or_path);

// The .safetensors files of a folder: model.safetensors, or the shards that model.safetensors.index.json names. Throws
// Error(model) where there are none; if the folder has pytorch_model.bin instead, with the command that converts it.
std::vector<std::filesystem::path> find_weight_files(const std::filesystem::path& folder);

}  // namespace bertdist
