#pragma once

#include <ATen/Parallel.h>

namespace bertdist {

// For as long as it lives, libtorch's operators use so many threads where this thread calls them.
class OperatorThreads {
 public:
  explicit OperatorThreads(int num_threads) : before_(at::get_num_threads()) { at::set_num_threads(num_threads); }
  ~OperatorThreads() { at::set_num_threads(before_); }
  OperatorThreads(const OperatorThreads&) = delete;
  OperatorThreads& operator=(const OperatorThreads&) = delete;

 private:
  int before_;
};

}  // namespace bertdist
