#pragma once

#include "job.h"

namespace bertdist {

// Makes kernels deterministic. Before any is run; throws Error(configuration) under mpirun with more ranks than one.
void begin_debug_mode(const Job& job);

}  // namespace bertdist
