#pragma once

#include <string>

#include "model/freezing.h"

namespace bertdist {

// Each parameter with its shape and whether it is trained, and their number. Neighbouring layers that are alike share
// their lines ("bert.encoder.layer.0-5.output.dense.weight").
std::string parameter_table(const Freezing& freezing);

}  // namespace bertdist
