#pragma once

#include "debugging/gradient_check.h"

namespace bertdist {

// Those that HeadStep makes of the sample, whose encoder is frozen whole: float32, of pooler and classifier.
Gradients head_step_gradients(const GradientSample& sample);

}  // namespace bertdist
