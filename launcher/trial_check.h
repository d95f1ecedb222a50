#pragma once

#include <string>
#include <vector>

#include "sweep/trials.h"

namespace bertdist {

// Holds each trial's max_seq_length and freeze against its model's config.json. Throws the model's error, with the
// trial's number before it, for the first trial that is impossible. Returns the models that are not on this machine,
// against which nothing could be held.
std::vector<std::string> check_trials_with_models(const std::vector<Trial>& trials);

}  // namespace bertdist
