#include "train/divergence.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "base/error.h"

namespace bertdist {

void require_finite(std::span<const float> logits, std::int64_t row, std::string_view source, std::int64_t line) {
  if (std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) return;
  throw Error(
      ExitCode::numeric, fmt::format("the logits of row {} ({}:{}) are not finite", row, source, line),
      "the model's weights hold NaN or infinities, or values so large that they overflow; take a checkpoint from "
      "before the training went wrong");
}

std::string divergence_hint(const CheckpointStore* checkpoints, std::int64_t num_steps) {
  std::string hint = "lower learning_rate, add warmup_steps or set max_grad_norm";
  if (checkpoints == nullptr) return hint;
  std::vector<std::filesystem::path> newest_first = checkpoints->newest_first();
  const std::filesystem::path failed = checkpoints->path_of(num_steps);
  if (!newest_first.empty() && newest_first.front() == failed) {
    hint += fmt::format("; '{}' holds the very weights that failed", failed.string());
    newest_first.erase(newest_first.begin());
  }
  if (!newest_first.empty()) hint += fmt::format("; '{}' is still good", newest_first.front().string());
  return hint;
}

}  // namespace bertdist
