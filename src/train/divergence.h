#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "train/checkpoint.h"

namespace bertdist {

// Throws Error(numeric), which names the row (from 0) and the line (from 1) of its source, where one is not finite.
void require_finite(std::span<const float> logits, std::int64_t row, std::string_view source, std::int64_t line);

// What to do where the weights after so many steps gave something that is not finite, and which of the run's
// checkpoints can be gone back to: older weights have passed a step's check since they were written, these have not.
// `checkpoints` is null where a run has none.
std::string divergence_hint(const CheckpointStore* checkpoints, std::int64_t num_steps);

}  // namespace bertdist
