#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/file_lock.h"
#include "base/log.h"
#include "config/config.h"
#include "train/checkpoint.h"

namespace bertdist {

// The output_dir of a training, for rank 0 alone, from the first look to the end of the run. Nobody's results are mixed
// with or replaced by this run's unless that was asked for, and no second run writes there at the same time.
class OutputFolder {
 public:
  // Before hours of work, and leaving the folder as it is. Throws Error(output) where it cannot be written, belongs to
  // a run that is under way, or holds what this run neither goes on from nor may replace; Error(configuration) where
  // replacing it would remove what this run starts from. All must outlive this.
  OutputFolder(const Config& config, std::filesystem::path model_folder, const CheckpointStore& checkpoints,
               const Log& log);

  // Once everything that the run reads has proved good: takes away what is replaced, checkpoints after `first_step`
  // among it, which a resumed run makes anew, and notes which run this is.
  void claim(std::int64_t first_step, const RunIdentity& identity);

 private:
  void lock();
  void require_free();
  void require_nothing_to_read_is_removed() const;
  bool goes_on_here() const;

  const Config& config_;
  const std::filesystem::path model_folder_;
  const CheckpointStore& checkpoints_;
  const Log& log_;
  std::optional<FileLock> lock_;
  bool replaces_ = false;
};

}  // namespace bertdist
