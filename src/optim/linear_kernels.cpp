#include "optim/linear_kernels.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/target_clones.h"
#include "base/vectors.h"
#include "optim/flush_denormals.h"

namespace bertdist {

namespace {

// An update with what is the same for all elements computed once.
struct Coefficients {
  float keep1, add1, keep2, add2, decay, rate, root_scale, epsilon;

  explicit Coefficients(const AdamWStep& step)
      : keep1(static_cast<float>(step.beta1)),
        add1(static_cast<float>(1 - step.beta1)),
        keep2(static_cast<float>(step.beta2)),
        add2(static_cast<float>(1 - step.beta2)),
        decay(static_cast<float>(1 - step.learning_rate * step.weight_decay)),
        rate(
            static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, static_cast<double>(step.num_updates))))),
        root_scale(static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, static_cast<double>(step.num_updates))))),
        epsilon(static_cast<float>(step.epsilon)) {}
};

// Columns that are worked on at once: their gradient stays in the first-level cache.
constexpr std::int64_t kBlock = 512;

using Factors = std::array<float, kRowUnit>;

Factors factors_of(const LinearBatch& batch, std::int64_t first_row, std::int64_t column, std::int64_t out,
                   float scale) {
  Factors factors;
  for (std::int64_t i = 0; i < kRowUnit; ++i) {
    factors[static_cast<std::size_t>(i)] = scale * batch.d_output[(first_row + i) * out + column];
  }
  return factors;
}

inline void update_element(float& parameter, float& exp_avg, float& exp_avg_sq, float gradient, const Coefficients& c) {
  exp_avg = exp_avg * c.keep1 + gradient * c.add1;
  exp_avg_sq = exp_avg_sq * c.keep2 + gradient * gradient * c.add2;
  parameter = parameter * c.decay - c.rate * exp_avg / (std::sqrt(exp_avg_sq) * c.root_scale + c.epsilon);
}

BERTDIST_TARGET_CLONES
void update(float* __restrict parameter, float* __restrict exp_avg, float* __restrict exp_avg_sq,
            const float* __restrict gradient, std::int64_t count, float scale, const Coefficients& coefficients) {
  const Coefficients c = coefficients;
  for (std::int64_t i = 0; i < count; ++i) {
    update_element(parameter[i], exp_avg[i], exp_avg_sq[i], scale * gradient[i], c);
  }
}

// Sum of eight factors times eight rows of values, `stride` apart.
inline float sum_of_eight(const float* v, std::int64_t stride, const float* f) {
  const float first = f[0] * v[0] + f[1] * v[stride] + f[2] * v[2 * stride] + f[3] * v[3 * stride];
  const float second = f[4] * v[4 * stride] + f[5] * v[5 * stride] + f[6] * v[6 * stride] + f[7] * v[7 * stride];
  return first + second;
}

BERTDIST_TARGET_CLONES
void add_eight(float* __restrict sum, const float* __restrict values, std::int64_t stride, const float* factors,
               std::int64_t count) {
  const Factors f = {factors[0], factors[1], factors[2], factors[3], factors[4], factors[5], factors[6], factors[7]};
  for (std::int64_t i = 0; i < count; ++i) sum[i] += sum_of_eight(values + i, stride, f.data());
}

BERTDIST_TARGET_CLONES
void update_of_eight(float* __restrict parameter, float* __restrict exp_avg, float* __restrict exp_avg_sq,
                     const float* __restrict gradient, const float* __restrict values, std::int64_t stride,
                     const float* factors, std::int64_t count, const Coefficients& coefficients) {
  const Coefficients c = coefficients;
  const Factors f = {factors[0], factors[1], factors[2], factors[3], factors[4], factors[5], factors[6], factors[7]};
  for (std::int64_t i = 0; i < count; ++i) {
    update_element(parameter[i], exp_avg[i], exp_avg_sq[i], gradient[i] + sum_of_eight(values + i, stride, f.data()),
                   c);
  }
}

// The sums of neighbouring lanes, first's and then second's.
template <std::int64_t lanes>
[[gnu::always_inline]] inline void fold(const Floats<lanes>& first, const Floats<lanes>& second, Floats<lanes>& sums) {
  using Order = typename Vectors<lanes>::Integers;
  if constexpr (lanes == 16) {
    sums = __builtin_shuffle(first, second, Order{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}) +
           __builtin_shuffle(first, second, Order{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31});
  } else {
    sums = __builtin_shuffle(first, second, Order{0, 2, 4, 6, 8, 10, 12, 14}) +
           __builtin_shuffle(first, second, Order{1, 3, 5, 7, 9, 11, 13, 15});
  }
}

// sums[0..8] = row . each of eight rows of values, `stride` apart. The compiler's own reductions take longer than the
// products: so the sums are written as vectors, and folded eight at a time.
struct DotEight {
  template <std::int64_t lanes>
  [[gnu::always_inline]] static void run(const float* row, const float* values, std::int64_t stride, std::int64_t count,
                                         float* sums) {
    using Vector = Floats<lanes>;
    Vector s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      const float* v = values + i;
      const Vector r = vector_at<lanes>(row + i);
      s0 += r * vector_at<lanes>(v);
      s1 += r * vector_at<lanes>(v + stride);
      s2 += r * vector_at<lanes>(v + 2 * stride);
      s3 += r * vector_at<lanes>(v + 3 * stride);
      s4 += r * vector_at<lanes>(v + 4 * stride);
      s5 += r * vector_at<lanes>(v + 5 * stride);
      s6 += r * vector_at<lanes>(v + 6 * stride);
      s7 += r * vector_at<lanes>(v + 7 * stride);
    }
    fold<lanes>(s0, s1, s0);
    fold<lanes>(s2, s3, s2);
    fold<lanes>(s4, s5, s4);
    fold<lanes>(s6, s7, s6);
    fold<lanes>(s0, s2, s0);
    fold<lanes>(s4, s6, s4);
    fold<lanes>(s0, s4, s0);
    if constexpr (lanes == 16) fold<lanes>(s0, s0, s0);
    for (std::int64_t k = 0; k < kRowUnit; ++k) {
      sums[k] = s0[k];
      for (std::int64_t rest = i; rest < count; ++rest) sums[k] += row[rest] * values[k * stride + rest];
    }
  }
};

// One column of the output.
void multiply_row(const float* row, const float* input, std::int64_t rows, std::int64_t in, float* output,
                  std::int64_t out) {
  Factors sums;
  for (std::int64_t first = 0; first < rows; first += kRowUnit) {
    run_kernel<DotEight>(row, input + first * in, in, in, sums.data());
    for (std::int64_t i = 0; i < kRowUnit; ++i) output[(first + i) * out] = sums[static_cast<std::size_t>(i)];
  }
}

void update_row(float* weight, float* exp_avg, float* exp_avg_sq, const LinearBatch& batch, std::int64_t column,
                std::int64_t in, std::int64_t out, float scale, const Coefficients& coefficients) {
  alignas(64) std::array<float, kBlock> gradient;
  const std::int64_t last = batch.rows - kRowUnit;
  const Factors last_factors = factors_of(batch, last, column, out, scale);
  for (std::int64_t begin = 0; begin < in; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, in - begin);
    std::fill_n(gradient.data(), count, 0.0f);
    for (std::int64_t first = 0; first < last; first += kRowUnit) {
      add_eight(gradient.data(), batch.input + first * in + begin, in,
                factors_of(batch, first, column, out, scale).data(), count);
    }
    update_of_eight(weight + begin, exp_avg + begin, exp_avg_sq + begin, gradient.data(),
                    batch.input + last * in + begin, in, last_factors.data(), count, coefficients);
  }
}

}  // namespace

void linear_products(float* output, const float* weight, const float* input, std::int64_t rows, std::int64_t in,
                     std::int64_t out) {
  for (std::int64_t column = 0; column < out; ++column) {
    multiply_row(weight + column * in, input, rows, in, output + column, out);
  }
}

void add_linear_gradient(float* gradient, const LinearBatch& batch, std::int64_t in, std::int64_t out) {
  for (std::int64_t column = 0; column < out; ++column) {
    for (std::int64_t first = 0; first < batch.rows; first += kRowUnit) {
      add_eight(gradient + column * in, batch.input + first * in, in, factors_of(batch, first, column, out, 1).data(),
                in);
    }
  }
}

void update_linear(float* weight, float* exp_avg, float* exp_avg_sq, const LinearBatch& batch, std::int64_t in,
                   std::int64_t out, float scale, const AdamWStep& step, const NextInput& next) {
  const FlushDenormals flush;
  const Coefficients coefficients(step);
  for (std::int64_t column = 0; column < out; ++column) {
    const std::int64_t offset = column * in;
    update_row(weight + offset, exp_avg + offset, exp_avg_sq + offset, batch, column, in, out, scale, coefficients);
    multiply_row(weight + offset, next.input, next.rows, in, next.output + column, out);
  }
}

void update_adamw(float* parameter, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count,
                  float scale, const AdamWStep& step) {
  const FlushDenormals flush;
  update(parameter, exp_avg, exp_avg_sq, gradient, count, scale, Coefficients(step));
}

}  // namespace bertdist
