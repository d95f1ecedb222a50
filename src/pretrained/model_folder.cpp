#include "pretrained/model_folder.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <set>

#include "base/error.h"
#include "pretrained/json_file.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

std::optional<fs::path> path_from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return std::nullopt;
  const std::string path = value;
  // No shell expands what stands in quotes or in a file of settings; Hugging Face does.
  if (path != "~" && !path.starts_with("~/")) return path;
  const char* home = std::getenv("HOME");
  return home != nullptr ? home + path.substr(1) : path;
}

// As huggingface_hub.constants.HF_HUB_CACHE is found, the old name of that variable included.
fs::path hub_cache() {
  if (const auto cache = path_from_environment("HF_HUB_CACHE")) return *cache;
  if (const auto cache = path_from_environment("HUGGINGFACE_HUB_CACHE")) return *cache;
  if (const auto home = path_from_environment("HF_HOME")) return *home / "hub";
  const auto xdg_cache = path_from_environment("XDG_CACHE_HOME");
  const auto home = path_from_environment("HOME");
  return xdg_cache.value_or(home.value_or(".") / ".cache") / "huggingface" / "hub";
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// ORG/NAME, or NAME: the names without an organisation that BERT's first checkpoints had are now of google-bert.
std::vector<std::string> cache_entries(const std::string& name) {
  const std::size_t slash = name.find('/');
  const bool is_name = !name.empty() &&
                       name.find('/', slash == std::string::npos ? 0 : slash + 1) == std::string::npos &&
                       !name.starts_with('/') && !name.starts_with('.') && !name.ends_with('/');
  if (!is_name) return {};
  if (slash != std::string::npos) return {"models--" + name.substr(0, slash) + "--" + name.substr(slash + 1)};
  return {"models--" + name, "models--google-bert--" + name};
}

std::optional<fs::path> main_snapshot(const fs::path& entry) {
  std::ifstream file(entry / "refs" / "main");
  std::string revision;
  if (!(file >> revision) || revision.find('/') != std::string::npos) return std::nullopt;
  const fs::path snapshot = entry / "snapshots" / revision;
  return is_folder(snapshot) ? std::optional(snapshot) : std::nullopt;
}

// Tensor by tensor, by no class of a model: that would add weights of its own where the file lacks some.
std::string conversion_command(const fs::path& folder) {
  return fmt::format(
      "python3 -c \"import sys, glob, torch, safetensors.torch as s; d = sys.argv[1]; "
      "t = {{k: v for f in glob.glob(d + '/pytorch_model*.bin') "
      "for k, v in torch.load(f, map_location='cpu', weights_only=True).items()}}; "
      "s.save_file({{k: v.clone().contiguous() for k, v in t.items()}}, d + '/model.safetensors', {{'format': "
      "'pt'}})\" "
      "'{}'",
      folder.string());
}

[[noreturn]] void fail_without_weights(const fs::path& folder) {
  if (is_file(folder / "pytorch_model.bin") || is_file(folder / "pytorch_model.bin.index.json")) {
    throw Error(ExitCode::model,
                fmt::format("'{}' has its weights only as pytorch_model.bin, which holds code and is not read",
                            folder.string()),
                "convert it once, in a Python that has torch and safetensors: " + conversion_command(folder));
  }
  throw Error(ExitCode::model,
              fmt::format("'{}' has neither model.safetensors nor model.safetensors.index.json", folder.string()),
              "a model folder holds config.json, model.safetensors and the tokenizer's files");
}

}  // namespace

fs::path resolve_model_folder(const std::string& name_or_path) {
  if (is_folder(name_or_path)) return name_or_path;
  std::vector<std::string> looked_at = {fs::absolute(name_or_path.empty() ? "." : name_or_path).string()};
  for (const std::string& entry : cache_entries(name_or_path)) {
    const fs::path cached = hub_cache() / entry;
    if (const auto snapshot = main_snapshot(cached)) return *snapshot;
    looked_at.push_back((cached / "snapshots" / "<refs/main>").string());
  }
  throw Error(ExitCode::model,
              fmt::format("there is no model '{}'; looked at:\n  {}", name_or_path, fmt::join(looked_at, "\n  ")),
              fmt::format("name a folder that holds config.json and model.safetensors, or run: launcher/fetch model {}",
                          name_or_path));
}

std::vector<fs::path> find_weight_files(const fs::path& folder) {
  if (is_file(folder / "model.safetensors")) return {folder / "model.safetensors"};
  const fs::path index_path = folder / "model.safetensors.index.json";
  if (!is_file(index_path)) fail_without_weights(folder);

  const nlohmann::json index = read_json_file(index_path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw Error(ExitCode::model, fmt::format("'{}' has no weight_map", index_path.string()));
  }
  std::set<std::string> names;
  for (const auto& file : index["weight_map"]) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      throw Error(ExitCode::model,
                  fmt::format("'{}' names a shard that is not a file beside it: {}", index_path.string(), file.dump()));
    }
    names.insert(file.get<std::string>());
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(folder / name);
  return files;
}

}  // namespace bertdist
