#include "train/checkpoint.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>

#include "base/atomic_file.h"
#include "base/error.h"
#include "model/safetensors.h"
#include "train/checkpoint_weights.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kCheckpointPrefix = "checkpoint-";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kBestValuesFile = "best_weights.safetensors";
constexpr const char* kTrainerStateFile = "trainer_state.json";
constexpr const char* kRunIdentityFile = "run_identity.json";
constexpr const char* kConfigFile = "config.toml";
constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json", "vocab.txt",
                                           "special_tokens_map.json", "added_tokens.json"};
// What a run writes into output_dir itself, beside the tokenizer's files.
constexpr const char* kRunFiles[] = {
    "config.json",   "model.safetensors",  "config.toml",       "run_identity.json", "trainer_state.json",
    "run_log.jsonl", "train_results.json", "eval_results.json", "test_results.json", "all_results.json"};

// Of checkpoint-<step>; nothing for other names.
std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  const char* const digits = name.data() + kCheckpointPrefix.size();
  const char* const end = name.data() + name.size();
  std::int64_t step = 0;
  const auto [parsed, error] = std::from_chars(digits, end, step);
  return error == std::errc() && parsed == end ? std::optional(step) : std::nullopt;
}

nlohmann::ordered_json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw Error(ExitCode::data, fmt::format("cannot read '{}'", path.string()),
                "is this a checkpoint folder of bertdist? resume_from_checkpoint = \"latest\" finds the newest one");
  }
  try {
    return nlohmann::ordered_json::parse(file);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ExitCode::data, fmt::format("'{}' is damaged: {}", path.string(), error.what()));
  }
}

// Without a model_max_length transformers' tokenizers do not truncate even where they are told to, and longer texts
// then fail in the model.
void name_max_length(const fs::path& folder, std::int64_t max_length) {
  const fs::path path = folder / "tokenizer_config.json";
  nlohmann::ordered_json config =
      fs::exists(path) ? read_json(path) : nlohmann::ordered_json(nlohmann::ordered_json::object());
  const auto found = config.find("model_max_length");
  if (found != config.end() && found->is_number() && found->get<double>() <= static_cast<double>(max_length)) return;
  config["model_max_length"] = max_length;
  write_file_atomically(path, config.dump(2) + "\n");
}

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  if (!fs::exists(from / "tokenizer.json") && !fs::exists(from / "vocab.txt")) {
    throw Error(
        ExitCode::model, fmt::format("the tokenizer in '{}' is gone: no tokenizer.json, no vocab.txt", from.string()),
        "a saved model needs it: put the files back, and leave model_name_or_path as it is while a run goes on");
  }
  for (const char* name : kTokenizerFiles) {
    std::error_code error;
    if (!fs::exists(from / name) || (fs::exists(to / name) && fs::equivalent(from / name, to / name))) continue;
    fs::copy_file(from / name, to / name, fs::copy_options::overwrite_existing, error);
    if (error) {
      throw Error(ExitCode::output,
                  fmt::format("cannot copy '{}' to '{}': {}", (from / name).string(), to.string(), error.message()));
    }
  }
}

void save_optimizer(const fs::path& folder, const TrainingSnapshot& snapshot, const FlatParameters& parameters,
                    Progress* progress) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const FlatParameters::Slice& slice : parameters.slices()) {
    tensors.emplace_back("exp_avg." + slice.name, FlatParameters::view(snapshot.exp_avg, slice));
    tensors.emplace_back("exp_avg_sq." + slice.name, FlatParameters::view(snapshot.exp_avg_sq, slice));
  }
  write_safetensors(folder / kOptimizerFile, tensors, progress);
}

void save_flat(const fs::path& path, const at::Tensor& flat, const FlatParameters& parameters, Progress* progress) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const FlatParameters::Slice& slice : parameters.slices()) {
    tensors.emplace_back(slice.name, FlatParameters::view(flat, slice));
  }
  write_safetensors(path, tensors, progress);
}

at::Tensor host_copy(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

void remove_entry(const fs::path& path) {
  std::error_code error;
  // A removal cut short must not leave what looks like a checkpoint. What has a temporary name already keeps it.
  const bool is_temporary = path.filename().string().starts_with('.');
  if (fs::is_directory(path, error) && !is_temporary) return remove_directory_atomically(path);
  fs::remove_all(path, error);
  if (error) throw Error(ExitCode::output, fmt::format("cannot remove '{}': {}", path.string(), error.message()));
}

// Copies one tensor of a file into a parameter's part of a flat buffer.
void load_slice(const SafetensorsFile& file, const std::string& name, const at::Tensor& flat,
                const FlatParameters::Slice& slice) {
  const c10::NoGradGuard no_grad;
  const auto entry = file.entries().find(name);
  if (entry == file.entries().end() || entry->second.shape != slice.shape) {
    throw Error(ExitCode::data, fmt::format("'{}' holds no '{}' of this run's shape", file.path().string(), name),
                "the checkpoint is of another model or of another choice of frozen parameters");
  }
  FlatParameters::view(flat, slice).copy_(file.tensor(name));
}

}  // namespace

TrainingSnapshot::TrainingSnapshot(const FlatParameters& parameters, const AdamW& optimizer, const at::Tensor& best,
                                   TrainerState state_now, RunIdentity identity_now)
    : values(host_copy(parameters.values())),
      exp_avg(host_copy(optimizer.exp_avg())),
      exp_avg_sq(host_copy(optimizer.exp_avg_sq())),
      best_values(best.defined() ? host_copy(best) : at::Tensor()),
      state(std::move(state_now)),
      identity(std::move(identity_now)) {}

CheckpointStore::CheckpointStore(fs::path output_dir, fs::path tokenizer_folder, std::string config_toml)
    : output_dir_(std::move(output_dir)),
      tokenizer_folder_(std::move(tokenizer_folder)),
      config_toml_(std::move(config_toml)) {}

fs::path CheckpointStore::path_of(std::int64_t step) const {
  return output_dir_ / fmt::format("{}{}", kCheckpointPrefix, step);
}

void CheckpointStore::save(const BertForSequenceClassification& model, const FlatParameters& parameters,
                           const TrainingSnapshot& snapshot, Progress* progress) const {
  const c10::NoGradGuard no_grad;
  AtomicDirectory directory(path_of(snapshot.state.global_step));
  const fs::path& folder = directory.temporary_path();
  std::map<std::string, at::Tensor> trained;
  for (const FlatParameters::Slice& slice : parameters.slices()) {
    trained.emplace(slice.name, FlatParameters::view(snapshot.values, slice));
  }
  save_checkpoint_weights(model, trained, folder, newest_on_top_of(snapshot.identity.frozen_weights), progress);
  copy_tokenizer(tokenizer_folder_, folder);
  name_max_length(folder, model.config().max_position_embeddings);
  save_optimizer(folder, snapshot, parameters, progress);
  if (snapshot.best_values.defined()) save_flat(folder / kBestValuesFile, snapshot.best_values, parameters, progress);
  write_file(folder / kTrainerStateFile, snapshot.state.to_json().dump(2) + "\n");
  write_file(folder / kRunIdentityFile, snapshot.identity.to_json().dump(2) + "\n");
  write_file(folder / kConfigFile, config_toml_);
  directory.commit();
}

void CheckpointStore::save_run(const RunIdentity& identity) const {
  write_file_atomically(output_dir_ / kConfigFile, config_toml_);
  write_file_atomically(output_dir_ / kRunIdentityFile, identity.to_json().dump(2) + "\n");
}

void CheckpointStore::save_final_model(const BertForSequenceClassification& model, const TrainerState& state,
                                       Progress* progress) const {
  make_directories(output_dir_);
  model.save_pretrained(output_dir_, progress);
  copy_tokenizer(tokenizer_folder_, output_dir_);
  name_max_length(output_dir_, model.config().max_position_embeddings);
  write_file_atomically(output_dir_ / kTrainerStateFile, state.to_json().dump(2) + "\n");
  write_file_atomically(output_dir_ / kConfigFile, config_toml_);
}

std::vector<std::pair<std::int64_t, fs::path>> CheckpointStore::checkpoint_folders() const {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(output_dir_, error)) {
    const std::optional<std::int64_t> step = step_of(entry.path().filename().string());
    if (step && entry.is_directory(error)) found.emplace_back(*step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::pair<std::int64_t, fs::path>> CheckpointStore::complete_checkpoints() const {
  auto found = checkpoint_folders();
  std::erase_if(found, [](const auto& checkpoint) { return !fs::exists(checkpoint.second / kTrainerStateFile); });
  return found;
}

std::vector<fs::path> CheckpointStore::newest_first() const {
  std::vector<fs::path> paths;
  for (const auto& [step, path] : complete_checkpoints()) paths.insert(paths.begin(), path);
  return paths;
}

fs::path CheckpointStore::newest_up_to(std::int64_t step) const {
  fs::path newest;
  for (const auto& [step_of_folder, path] : complete_checkpoints()) {
    if (step_of_folder <= step) newest = path;
  }
  return newest;
}

fs::path CheckpointStore::oldest_from(std::int64_t step) const {
  for (const auto& [step_of_folder, path] : complete_checkpoints()) {
    if (step_of_folder >= step) return path;
  }
  return {};
}

std::vector<fs::path> CheckpointStore::to_resume_from(const std::string& resume_from_checkpoint) const {
  if (resume_from_checkpoint == "latest") return newest_first();
  const fs::path named(resume_from_checkpoint);
  return {named.has_filename() ? named : named.parent_path()};  // without a slash at the end
}

fs::path CheckpointStore::newest_on_top_of(const std::string& frozen_weights) const {
  for (const fs::path& checkpoint : newest_first()) {
    try {
      if (load_run_identity(checkpoint).frozen_weights == frozen_weights) return checkpoint;
    } catch (const Error&) {
      continue;  // damaged: nothing to share with it
    }
  }
  return {};
}

void CheckpointStore::rotate(std::int64_t save_total_limit, const std::string& best_model_checkpoint) const {
  const auto checkpoints = complete_checkpoints();
  auto surplus = static_cast<std::int64_t>(checkpoints.size()) - save_total_limit;
  for (auto it = checkpoints.begin(); it != checkpoints.end() && surplus > 0; ++it) {
    const bool is_newest = std::next(it) == checkpoints.end();
    if (is_newest || it->second == fs::path(best_model_checkpoint)) continue;
    remove_entry(it->second);
    --surplus;
  }
}

std::vector<fs::path> CheckpointStore::entries_of_previous_run() const {
  std::vector<fs::path> entries;
  for (const auto& [step, path] : checkpoint_folders()) entries.push_back(path);
  const auto add = [&](const char* name) {
    if (fs::is_regular_file(output_dir_ / name)) entries.push_back(output_dir_ / name);
  };
  for (const char* name : kRunFiles) add(name);
  for (const char* name : kTokenizerFiles) add(name);
  return entries;
}

void CheckpointStore::remove_previous_run() const {
  for (const fs::path& entry : entries_of_previous_run()) remove_entry(entry);
}

std::vector<fs::path> CheckpointStore::remove_after(std::int64_t step) const {
  std::vector<fs::path> removed;
  for (const auto& [step_of_folder, path] : checkpoint_folders()) {
    if (step_of_folder <= step) continue;
    remove_entry(path);
    removed.push_back(path);
  }
  return removed;
}

void CheckpointStore::remove_unfinished() const {
  std::vector<fs::path> unfinished;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(output_dir_, error)) {
    const std::string name = entry.path().filename().string();
    const auto is_of = [&](std::string_view target) { return name.starts_with(fmt::format(".{}.", target)); };
    const bool is_ours = name.starts_with(fmt::format(".{}", kCheckpointPrefix)) ||
                         std::any_of(std::begin(kRunFiles), std::end(kRunFiles), is_of);
    if (is_ours && name.ends_with(".tmp")) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) remove_entry(path);
}

TrainerState load_trainer_state(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kTrainerStateFile;
  return TrainerState::from_json(read_json(path), path.string());
}

RunIdentity load_run_identity(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kRunIdentityFile;
  return RunIdentity::from_json(read_json(path), path.string());
}

void load_parameters(const fs::path& checkpoint, FlatParameters& parameters) {
  const SafetensorsFile file(trained_weights_file(checkpoint));
  for (const FlatParameters::Slice& slice : parameters.slices()) {
    load_slice(file, slice.name, parameters.values(), slice);
  }
}

at::Tensor load_best_values(const fs::path& checkpoint, const FlatParameters& parameters) {
  if (!fs::exists(checkpoint / kBestValuesFile)) return {};
  const SafetensorsFile file(checkpoint / kBestValuesFile);
  const at::Tensor values = parameters.values().clone();
  for (const FlatParameters::Slice& slice : parameters.slices()) load_slice(file, slice.name, values, slice);
  return values;
}

void load_optimizer(const fs::path& checkpoint, const FlatParameters& parameters, AdamW& optimizer) {
  const SafetensorsFile file(checkpoint / kOptimizerFile);
  // What is frozen only now was trained in the checkpoint: going on from the weights it started with would be wrong.
  if (file.entries().size() != 2 * parameters.slices().size()) {
    throw Error(ExitCode::data,
                fmt::format("'{}' holds the state of {} parameters, this run trains {}", file.path().string(),
                            file.entries().size() / 2, parameters.slices().size()),
                "the checkpoint is of another choice of frozen parameters; to train others from its weights, name the "
                "checkpoint as model_name_or_path");
  }
  for (const FlatParameters::Slice& slice : parameters.slices()) {
    load_slice(file, "exp_avg." + slice.name, optimizer.exp_avg(), slice);
    load_slice(file, "exp_avg_sq." + slice.name, optimizer.exp_avg_sq(), slice);
  }
  optimizer.set_num_updates(load_trainer_state(checkpoint).global_step);
}

}  // namespace bertdist
