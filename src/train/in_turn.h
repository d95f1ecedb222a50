#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bertdist {

// body(i) for every i below `count`, on all threads: each takes another one when it is done with the last.
template <typename Body>
void for_each_in_turn(std::size_t count, const Body& body) {
  std::atomic<std::size_t> next = 0;
  const auto num_threads = std::min<std::int64_t>(at::get_num_threads(), static_cast<std::int64_t>(count));
  at::parallel_for(0, num_threads, 1, [&](std::int64_t, std::int64_t) {
    for (std::size_t i = next++; i < count; i = next++) body(i);
  });
}

}  // namespace bertdist
