#include "data/cache_folder.h"

#include <fmt/core.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/atomic_file.h"
#include "base/content_hash.h"
#include "data/cooperation.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kHashDigits = 32;

// Of temporary names like ".HASH.h5.PID.tmp"; empty for other names.
std::string hash_in_temporary_name(const std::string& name) {
  const bool temporary = name.size() > kHashDigits + 2 && name.front() == '.' && name.ends_with(".tmp") &&
                         name[kHashDigits + 1] == '.' &&
                         name.find_first_not_of("0123456789abcdef", 1) == kHashDigits + 1;
  return temporary ? name.substr(1, kHashDigits) : "";
}

}  // namespace

std::optional<FileLock> CacheFolder::try_lock() const {
  make_directories(folder_);
  return FileLock::try_acquire(folder_ / (content_hash_ + ".lock"));
}

void CacheFolder::remove_stale_files() const {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, ignored)) {
    const std::string hash = hash_in_temporary_name(entry.path().filename().string());
    if (hash.empty()) continue;
    std::optional<FileLock> lock;
    if (hash != content_hash_) {
      lock = CacheFolder(folder_, hash).try_lock();
      if (!lock || !lock->locked()) continue;
    }
    fs::remove(entry.path(), ignored);
  }
}

fs::path CacheFolder::record_of(const fs::path& source) const {
  return folder_ / "by_source" /
         (ContentHash().field(fs::absolute(source).lexically_normal().string()).hex() + ".json");
}

std::string CacheFolder::changes_since_last(const fs::path& source, const CacheFields& fields) const {
  std::ifstream file(record_of(source));
  const nlohmann::json record = nlohmann::json::parse(file, nullptr, false);
  if (!record.is_object() || !record.contains("fields") || !record["fields"].is_object()) return "";
  std::string changes;
  for (const auto& [name, value] : fields) {
    const auto old = record["fields"].find(name);
    if (old == record["fields"].end() || !old->is_string() || old->get<std::string>() == value) continue;
    const bool is_hash = name == "tokenizer" || name == "weights" || name == "tokens";
    changes += changes.empty() ? "" : ", ";
    changes += name == "source_hash" ? "the file's content changed"
               : is_hash             ? fmt::format("the {} changed", name)
                                     : fmt::format("{} {} -> {}", name, old->get<std::string>(), value);
  }
  return changes;
}

void CacheFolder::remember(const fs::path& source, const CacheFields& fields) const {
  nlohmann::ordered_json record;
  record["source"] = fs::absolute(source).lexically_normal().string();
  record["cache"] = content_hash_;
  record["fields"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : fields) record["fields"][name] = value;
  make_directories(record_of(source).parent_path());
  write_file_atomically(record_of(source),
                        record.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::optional<FileLock> lock_unless_found(const CacheFolder& folder, std::string_view kind, Communicator& communicator,
                                          const Log& log) {
  std::optional<FileLock> lock;
  bool told = false;
  root_in_steps(communicator, "lock of a cache", [&] {
    if (fs::exists(folder.cache())) return true;
    lock = folder.try_lock();
    if (!lock) {
      if (!told) log.info("another job is making {} {}; waiting for it", kind, folder.cache().string());
      told = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      return false;
    }
    // The job that held the lock may have finished between the two looks.
    if (fs::exists(folder.cache())) lock.reset();
    return true;
  });
  return lock;
}

}  // namespace bertdist
