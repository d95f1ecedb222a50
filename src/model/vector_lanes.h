#pragma once

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/vectors.h"

namespace bertdist {

inline constexpr std::int64_t kLine = 16;    // floats: rows of scratch memory are whole lines
inline constexpr std::int64_t kQueries = 4;  // handled at once, so that a key or value is read once for all of them

struct alignas(64) Line {
  float values[kLine];
};
using Lines = std::vector<Line>;

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

inline float* reserve(Lines& lines, std::int64_t num_floats) {
  lines.resize(static_cast<std::size_t>(round_up(num_floats, kLine) / kLine));
  return lines.data()->values;
}

[[gnu::always_inline]] inline float to_float(float value) {
  return value;
}
[[gnu::always_inline]] inline float to_float(c10::BFloat16 value) {
  const std::uint32_t bits = std::uint32_t{value.x} << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

template <std::int64_t lanes>
[[gnu::always_inline]] inline void load(const float* from, Floats<lanes>& to) {
  std::memcpy(&to, from, sizeof(to));
}
template <std::int64_t lanes>
[[gnu::always_inline]] inline void load(const c10::BFloat16* from, Floats<lanes>& to) {
  typename Vectors<lanes>::HalfWords halves;
  std::memcpy(&halves, from, sizeof(halves));
  const auto bits = __builtin_convertvector(halves, typename Vectors<lanes>::Words) << 16;
  std::memcpy(&to, &bits, sizeof(to));
}

template <std::int64_t lanes>
[[gnu::always_inline]] inline void store(const Floats<lanes>& from, float* to) {
  std::memcpy(to, &from, sizeof(from));
}
// Rounds to nearest, ties to even; what is not a number stays so.
template <std::int64_t lanes>
[[gnu::always_inline]] inline void store(const Floats<lanes>& from, c10::BFloat16* to) {
  using Words = typename Vectors<lanes>::Words;
  Words bits;
  std::memcpy(&bits, &from, sizeof(bits));
  const Words rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const Words nan = (bits >> 16) | 0x40;
  const auto halves =
      __builtin_convertvector((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded, typename Vectors<lanes>::HalfWords);
  std::memcpy(to, &halves, sizeof(halves));
}

template <std::int64_t lanes>
[[gnu::always_inline]] inline float sum_of(const Floats<lanes>& vector) {
  float sum = 0;
  for (std::int64_t lane = 0; lane < lanes; ++lane) sum += vector[lane];
  return sum;
}

// For arguments of at most 0, to 2 units in the last place; below -87 it stays at the smallest normal numbers.
template <std::int64_t lanes>
[[gnu::always_inline]] inline void exponential(Floats<lanes>& x) {
  using Vector = Floats<lanes>;
  const Vector lowest = Vector{} - 87.0f;
  const Vector argument = x < lowest ? lowest : x;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
  const Vector shifted = argument * 1.44269504f + 12582912.0f;
  const Vector whole = shifted - 12582912.0f;
  const Vector rest = argument - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector result = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  result = result * rest + 8.3334519073e-3f;
  result = result * rest + 4.1665795894e-2f;
  result = result * rest + 1.6666665459e-1f;
  result = result * rest + 5.0000001201e-1f;
  result = result * rest * rest + rest + 1.0f;
  typename Vectors<lanes>::Integers bits, exponent;
  std::memcpy(&bits, &result, sizeof(bits));
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  bits += exponent << 23;
  std::memcpy(&x, &bits, sizeof(x));
}

// out[kQueries, width] = left[kQueries, depth] * right[depth, width]; right and out are aligned, width whole lines.
template <std::int64_t lanes>
[[gnu::always_inline]] inline void multiply(const float* left, std::int64_t left_stride, const float* right,
                                            std::int64_t depth, std::int64_t width, float* out) {
  static_assert(kQueries == 4);
  using Vector = Floats<lanes>;
  const auto* right_vectors = reinterpret_cast<const Vector*>(right);
  auto* out_vectors = reinterpret_cast<Vector*>(out);
  const float *left0 = left, *left1 = left + left_stride, *left2 = left1 + left_stride, *left3 = left2 + left_stride;
  const std::int64_t vectors_a_row = width / lanes;
  std::int64_t i = 0;
  for (; i + 2 <= vectors_a_row; i += 2) {
    Vector s00{}, s01{}, s10{}, s11{}, s20{}, s21{}, s30{}, s31{};
    for (std::int64_t k = 0; k < depth; ++k) {
      const Vector right0 = right_vectors[k * vectors_a_row + i], right1 = right_vectors[k * vectors_a_row + i + 1];
      s00 += left0[k] * right0;
      s01 += left0[k] * right1;
      s10 += left1[k] * right0;
      s11 += left1[k] * right1;
      s20 += left2[k] * right0;
      s21 += left2[k] * right1;
      s30 += left3[k] * right0;
      s31 += left3[k] * right1;
    }
    out_vectors[i] = s00, out_vectors[i + 1] = s01;
    out_vectors[vectors_a_row + i] = s10, out_vectors[vectors_a_row + i + 1] = s11;
    out_vectors[2 * vectors_a_row + i] = s20, out_vectors[2 * vectors_a_row + i + 1] = s21;
    out_vectors[3 * vectors_a_row + i] = s30, out_vectors[3 * vectors_a_row + i + 1] = s31;
  }
  if (i < vectors_a_row) {
    Vector s0{}, s1{}, s2{}, s3{};
    for (std::int64_t k = 0; k < depth; ++k) {
      const Vector right0 = right_vectors[k * vectors_a_row + i];
      s0 += left0[k] * right0;
      s1 += left1[k] * right0;
      s2 += left2[k] * right0;
      s3 += left3[k] * right0;
    }
    out_vectors[i] = s0;
    out_vectors[vectors_a_row + i] = s1;
    out_vectors[2 * vectors_a_row + i] = s2;
    out_vectors[3 * vectors_a_row + i] = s3;
  }
}

// Turns a row of `length` scores into probabilities that still have to be multiplied by what is returned.
template <std::int64_t lanes>
[[gnu::always_inline]] inline float softmax(float* scores, std::int64_t length, std::int64_t width) {
  using Vector = Floats<lanes>;
  std::fill(scores + length, scores + width, -std::numeric_limits<float>::infinity());
  auto* vectors = reinterpret_cast<Vector*>(scores);
  Vector largest = vectors[0];
  for (std::int64_t i = 1; i < width / lanes; ++i) largest = vectors[i] > largest ? vectors[i] : largest;
  float maximum = largest[0];
  for (std::int64_t lane = 1; lane < lanes; ++lane) maximum = std::max(maximum, largest[lane]);
  Vector sums = {};
  for (std::int64_t i = 0; i < width / lanes; ++i) {
    vectors[i] -= maximum;
    exponential<lanes>(vectors[i]);
    sums += vectors[i];
  }
  return 1.0f / sum_of<lanes>(sums);
}

template <typename T>
struct Rows {
  const T* data;
  std::int64_t stride;
};

}  // namespace bertdist
