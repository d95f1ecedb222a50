#pragma once

#include <string>

#include "config/sweep_spec.h"
#include "config/value.h"

namespace bertdist {

// Reads a [sweep] table. Throws Error(configuration) that names the line.
SweepSpec read_sweep_table(const Value& table, const std::string& file);

}  // namespace bertdist
