#pragma once

#include <cstdint>

namespace bertdist {

// What all ranks know of a training step.
struct StepResult {
  std::int64_t step;  // from 0
  double loss;        // the mean over the global batch
  double grad_norm;   // before clipping
  double learning_rate;
  bool stop_requested;  // on any rank
};

}  // namespace bertdist
