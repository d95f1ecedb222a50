#pragma once

namespace bertdist {

// How many threads libtorch's operators use in this process.
void use_threads(int num_threads);

}  // namespace bertdist
