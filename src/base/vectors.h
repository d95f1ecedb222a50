#pragma once

#include <cstdint>
#include <utility>

namespace bertdist {

// Vectors of the compiler, which it maps to what the processor has; wider ones than that would live in memory. They
// never pass a function's border, where their size would change the calling convention.
template <std::int64_t lanes>
struct Vectors {
  using Floats __attribute__((vector_size(4 * lanes), may_alias)) = float;
  using UnalignedFloats __attribute__((vector_size(4 * lanes), may_alias, aligned(4))) = float;
  using Integers __attribute__((vector_size(4 * lanes))) = std::int32_t;
  using Words __attribute__((vector_size(4 * lanes))) = std::uint32_t;
  using HalfWords __attribute__((vector_size(2 * lanes))) = std::uint16_t;
};
template <std::int64_t lanes>
using Floats = typename Vectors<lanes>::Floats;

// The floats from here on, wherever they lie.
template <std::int64_t lanes>
[[gnu::always_inline]] inline const typename Vectors<lanes>::UnalignedFloats& vector_at(const float* values) {
  return *reinterpret_cast<const typename Vectors<lanes>::UnalignedFloats*>(values);
}

// Kernel::run<lanes>(arguments...), compiled for the processor that runs it. What run calls has to be always inline:
// only so it is compiled for that processor too.
#if defined(__x86_64__)
template <typename Kernel, typename... Arguments>
__attribute__((target("arch=x86-64-v4"))) void run_for_v4(Arguments&&... arguments) {
  Kernel::template run<16>(arguments...);
}
template <typename Kernel, typename... Arguments>
__attribute__((target("arch=x86-64-v3"))) void run_for_v3(Arguments&&... arguments) {
  Kernel::template run<8>(arguments...);
}
#endif
template <typename Kernel, typename... Arguments>
void run_kernel(Arguments&&... arguments) {
#if defined(__x86_64__)
  static const bool is_v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512vl");
  static const bool is_v3 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (is_v4) return run_for_v4<Kernel>(std::forward<Arguments>(arguments)...);
  if (is_v3) return run_for_v3<Kernel>(std::forward<Arguments>(arguments)...);
#endif
  Kernel::template run<8>(arguments...);
}

}  // namespace bertdist
