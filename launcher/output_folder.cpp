#include "output_folder.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

constexpr const char* kLockFile = ".lock";

void require_writable(fs::path folder) {
  std::error_code error;
  folder = fs::absolute(folder);
  while (!fs::exists(folder, error)) folder = folder.parent_path();
  const bool is_folder = fs::is_directory(folder, error);
  if (is_folder && ::access(folder.c_str(), W_OK | X_OK) == 0) return;
  throw Error(ExitCode::output,
              fmt::format("cannot write into '{}': {}", folder.string(),
                          is_folder ? std::strerror(errno) : "it is not a folder"),
              "choose another output_dir");
}

bool is_empty(const fs::path& folder) {
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  return std::all_of(begin(entries), end(entries),
                     [](const auto& entry) { return entry.path().filename() == kLockFile; });
}

bool is_same_or_inside(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

}  // namespace

OutputFolder::OutputFolder(const Config& config, fs::path model_folder, const CheckpointStore& checkpoints,
                           const Log& log)
    : config_(config), model_folder_(std::move(model_folder)), checkpoints_(checkpoints), log_(log) {
  require_writable(config.output_dir);
  if (fs::exists(config.output_dir)) lock();
  require_free();
}

void OutputFolder::claim(std::int64_t first_step, const RunIdentity& identity) {
  if (!lock_) {
    make_directories(config_.output_dir);
    lock();
    require_free();  // another run may have come and gone since the first look
  }
  if (replaces_) checkpoints_.remove_previous_run();
  for (const fs::path& checkpoint : checkpoints_.remove_after(first_step)) {
    log_.info("'{}' is removed: the run goes on from step {}, before it", checkpoint.string(), first_step);
  }
  checkpoints_.remove_unfinished();
  checkpoints_.save_run(identity);
}

void OutputFolder::lock() {
  lock_ = FileLock::try_acquire(fs::path(config_.output_dir) / kLockFile);
  if (lock_) return;
  throw Error(ExitCode::output, fmt::format("another run is writing into output_dir '{}'", config_.output_dir),
              "wait for its end, or choose another output_dir");
}

void OutputFolder::require_free() {
  const std::string& folder = config_.output_dir;
  if (is_empty(folder) || goes_on_here()) return;
  if (config_.overwrite_output_dir) {
    require_nothing_to_read_is_removed();
    replaces_ = true;
    return;
  }
  if (config_.resume_from_checkpoint != "latest") {
    throw Error(
        ExitCode::output, fmt::format("output_dir '{}' is not empty", folder),
        "continue its run with --resume_from_checkpoint latest, replace it with --overwrite_output_dir, or choose "
        "another output_dir");
  }
  if (fs::exists(fs::path(folder) / "model.safetensors")) {
    throw Error(ExitCode::output,
                fmt::format("output_dir '{}' holds a finished model, but no checkpoint to resume from", folder),
                "replace it with --overwrite_output_dir, or choose another output_dir");
  }
}

void OutputFolder::require_nothing_to_read_is_removed() const {
  const auto require = [](bool stays, const fs::path& path) {
    if (stays) return;
    throw Error(ExitCode::configuration,
                fmt::format("overwrite_output_dir would remove what this run starts from: '{}'", path.string()),
                "choose another output_dir, or move that out of it");
  };
  const fs::path model = fs::weakly_canonical(model_folder_);
  require(model != fs::weakly_canonical(config_.output_dir), model_folder_);
  for (const fs::path& entry : checkpoints_.entries_of_previous_run()) {
    const fs::path removed = fs::weakly_canonical(entry);
    require(!is_same_or_inside(model, removed), model_folder_);
    for (const std::string& file : {config_.train_file, config_.validation_file, config_.test_file}) {
      require(file.empty() || !is_same_or_inside(fs::weakly_canonical(file), removed), file);
    }
  }
}

// Whether the checkpoint that the run goes on from is one of this folder's.
bool OutputFolder::goes_on_here() const {
  const auto& resume = config_.resume_from_checkpoint;
  if (!resume) return false;
  if (*resume == "latest") return !checkpoints_.newest_first().empty();
  std::error_code error;
  return fs::equivalent(fs::weakly_canonical(*resume).parent_path(), config_.output_dir, error);
}

}  // namespace bertdist
