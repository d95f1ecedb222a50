#include "torch_setup.h"

#include <ATen/Parallel.h>

namespace bertdist {

void use_threads(int num_threads) {
  at::set_num_threads(num_threads);
}

}  // namespace bertdist
