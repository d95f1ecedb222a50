#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/file_lock.h"
#include "base/log.h"
#include "comm/communicator.h"
#include "data/token_cache_format.h"

namespace bertdist {

// The names in token_cache_dir: HASH.h5, HASH.skipped.txt beside it, HASH.lock while it is made, and by_source/*.json,
// which remember from which fields the last cache of each source file was made. Caches are never removed.
class CacheFolder {
 public:
  CacheFolder(std::filesystem::path folder, std::string content_hash)
      : folder_(std::move(folder)), content_hash_(std::move(content_hash)) {}

  std::filesystem::path cache() const { return folder_ / (content_hash_ + ".h5"); }
  std::filesystem::path skipped_rows() const { return folder_ / (content_hash_ + ".skipped.txt"); }

  // Makes the folder where it is missing. Nothing while another job makes the same cache.
  std::optional<FileLock> try_lock() const;
  // Removes what killed writers left, of this cache (whose lock the caller holds) and of those that nobody makes now.
  void remove_stale_files() const;

  // In words, how `fields` differ from those of the source's last cache; empty where there was none or it was the same.
  std::string changes_since_last(const std::filesystem::path& source, const CacheFields& fields) const;
  // Throws Error(output).
  void remember(const std::filesystem::path& source, const CacheFields& fields) const;

 private:
  std::filesystem::path record_of(const std::filesystem::path& source) const;

  std::filesystem::path folder_;
  std::string content_hash_;
};

// Collective. Root's lock on the cache, or nothing where the cache is there, made by now or long ago; waits while
// another job makes it. `kind` is what the log calls it.
std::optional<FileLock> lock_unless_found(const CacheFolder& folder, std::string_view kind, Communicator& communicator,
                                          const Log& log);

}  // namespace bertdist
