#include "sweep/sweep_folder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "base/atomic_file.h"
#include "base/error.h"

namespace bertdist {

namespace {

namespace fs = std::filesystem;

// Which trial best/ is, so that the next one can be compared with it.
constexpr const char* kTrialFile = "trial.json";

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Held by one process at a time, on all hosts that share the folder; a process that ends lets it go.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (fd_ >= 0 && ::flock(fd_, LOCK_EX) == 0) return;
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    throw Error(ExitCode::output, fmt::format("cannot lock '{}': {}", path.string(), std::strerror(error)));
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

// Null where there is none.
nlohmann::json read_trial_file(const fs::path& best) {
  nlohmann::json json = nlohmann::json::parse(read_text(best / kTrialFile), nullptr, /*allow_exceptions=*/false);
  const bool is_whole =
      json.is_object() && json.contains("trial") && json["trial"].is_number_integer() && json.contains("metric");
  return is_whole ? json : nlohmann::json();
}

bool is_ahead(const SweepSpec::Metric& metric, const TrialResult& result, const fs::path& best) {
  const nlohmann::json json = read_trial_file(best);
  if (json.is_null()) return true;
  const std::optional<double> there =
      json["metric"].is_number() ? std::optional(json["metric"].get<double>()) : std::nullopt;
  if (is_better(metric, result.metric, there)) return true;
  return !is_better(metric, there, result.metric) && result.trial < json["trial"].get<std::int64_t>();
}

}  // namespace

void SweepFolder::claim(const SweepFile& file) const {
  make_directories(path_);
  const std::string text = file.to_toml();
  if (!fs::exists(sweep_toml())) {
    // What a stopped job left of its own files begins with a dot; anything else is somebody's.
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (entry.path().filename().string().starts_with('.')) continue;
      if (fs::exists(sweep_toml())) break;  // another job of this sweep was quicker
      throw Error(ExitCode::output, fmt::format("output_dir '{}' is not empty and holds no sweep", path_.string()),
                  "choose another output_dir");
    }
    if (!fs::exists(sweep_toml())) write_file_atomically(sweep_toml(), text);
  }
  if (read_text(sweep_toml()) == text) return;
  throw Error(
      ExitCode::output, fmt::format("'{}' holds another sweep than this one", path_.string()),
      fmt::format("to go on with it, run --config {}; for this one choose another output_dir", sweep_toml().string()));
}

std::optional<std::int64_t> SweepFolder::best_trial() const {
  const nlohmann::json json = read_trial_file(best());
  return json.is_null() ? std::nullopt : std::optional(json["trial"].get<std::int64_t>());
}

void SweepFolder::offer_best(const SweepSpec::Metric& metric, const TrialResult& result,
                             const std::function<void(const fs::path&)>& write) const {
  const FolderLock lock(path_ / ".best.lock");
  if (!is_ahead(metric, result, best())) return;
  AtomicDirectory directory(best());
  write(directory.temporary_path());
  nlohmann::ordered_json trial = {{"trial", result.trial}, {"metric", nullptr}};
  if (result.metric) trial["metric"] = *result.metric;
  trial.update(result.details);
  write_file_atomically(directory.temporary_path() / kTrialFile, trial.dump(2) + "\n");
  directory.commit();
}

std::vector<std::int64_t> missing_trials(const SweepResults& results, const std::vector<std::int64_t>& wanted,
                                         bool failed_ones_too) {
  std::vector<std::int64_t> missing;
  for (const std::int64_t trial : wanted) {
    const auto result = results.trials.find(trial);
    const bool failed = result != results.trials.end() && result->second.state == TrialResult::State::failed;
    if (result == results.trials.end() || (failed && failed_ones_too)) missing.push_back(trial);
  }
  return missing;
}

}  // namespace bertdist
