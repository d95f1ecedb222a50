#pragma once

#include <filesystem>

#include "config/config.h"
#include "config/replay_request.h"

namespace bertdist {

// The configuration that a training saved in `folder`, its output_dir or one of its checkpoints, with the request's
// keys on top. Throws Error(configuration) where there is no such run.
Config configuration_of_run(const ReplayRequest& request, const std::filesystem::path& folder);

}  // namespace bertdist
