#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/file_lock.h"

namespace bertdist {

// A folder for a new queue within `parent`, made by one process, which tells the others and keeps this until all have
// ended. Removes those that processes which were killed have left there. Throws Error(output).
class QueueFolder {
 public:
  explicit QueueFolder(const std::filesystem::path& parent);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::optional<FileLock> lock_;
};

// Hands the items 0 ... num_items - 1 out to the processes of one job, each to one of them, in order: whoever is free
// takes the next. All it needs is a folder that they share: taking an item is creating a folder, which succeeds once.
// (A counter in an MPI window would make a free process wait until the one that holds the window calls MPI again.)
class WorkQueue {
 public:
  WorkQueue(std::filesystem::path folder, std::int64_t num_items) : folder_(std::move(folder)), num_items_(num_items) {}

  // Nothing once all items are taken, or a taker has stopped. Throws Error(output).
  std::optional<std::int64_t> next();

  // To be called once by each of `num_takers` when it takes no more. True for the last of them, which removes the
  // folder.
  bool leave(int taker, int num_takers);

  // In the place of leave(), for a taker that ends although there is work left: nobody takes any more.
  void stop(int taker);
  // Whether each taker has left or stopped, and the folder is gone: the first who finds them ended removes it.
  bool all_have_ended(int num_takers);

 private:
  bool exists(const std::string& name) const;
  bool create(const std::string& name) const;
  std::filesystem::path ended_folder() const;
  bool remove_folder() const;

  std::filesystem::path folder_;
  std::int64_t num_items_;
  std::int64_t position_ = 0;
};

}  // namespace bertdist
