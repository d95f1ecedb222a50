#pragma once

#include <filesystem>

#include "base/log.h"
#include "config/config.h"
#include "train/checkpoint.h"

namespace bertdist {

// For rank 0, before anything is tokenised or loaded: holds what is known of this run by then against the checkpoint
// that it is to go on from, if it is to. Throws Error(configuration) where it cannot, and for a checkpoint that the
// user names Error(data) where that cannot be read.
void check_checkpoint(const CheckpointStore& checkpoints, const Config& config, const RunIdentity& current,
                      const Log& log);

// Tells which options changed since the checkpoint, without those that say where a run is to be found ("changed since
// the checkpoint: learning_rate: 5e-05, now 2e-05"), and what lets the run agree with the uninterrupted one to rounding
// only.
void tell_differences(const std::filesystem::path& checkpoint, const RunIdentity& saved, const RunIdentity& current,
                      const Config& config, const Log& log);

}  // namespace bertdist
