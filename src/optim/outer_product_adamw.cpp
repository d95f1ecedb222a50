#include "optim/outer_product_adamw.h"

#include <algorithm>
#include <cmath>

#include "base/target_clones.h"

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

// Columns of a row that are worked on at once: gradient and inputs stay in the first-level cache.
constexpr std::int64_t kBlock = 512;

// One element's update.
inline void update_element(float& parameter, float& exp_avg, float& exp_avg_sq, float gradient, const Coefficients& c) {
  exp_avg = exp_avg * c.keep1 + gradient * c.add1;
  exp_avg_sq = exp_avg_sq * c.keep2 + gradient * gradient * c.add2;
  parameter = parameter * c.decay - c.rate * exp_avg / (std::sqrt(exp_avg_sq) * c.root_scale + c.epsilon);
}

BERTDIST_TARGET_CLONES
void update(float* __restrict parameter, float* __restrict exp_avg, float* __restrict exp_avg_sq,
            const float* __restrict gradient, std::int64_t count, const Coefficients& coefficients) {
  const Coefficients c = coefficients;
  for (std::int64_t i = 0; i < count; ++i) {
    update_element(parameter[i], exp_avg[i], exp_avg_sq[i], gradient[i], c);
  }
}

// The same where the gradient is that plus the sum of eight factors times eight rows of values, `stride` apart.
BERTDIST_TARGET_CLONES
void update_of_eight(float* __restrict parameter, float* __restrict exp_avg, float* __restrict exp_avg_sq,
                     const float* __restrict gradient, const float* __restrict values, std::int64_t stride,
                     const float* factors, std::int64_t count, const Coefficients& coefficients) {
  const Coefficients c = coefficients;
  const float f0 = factors[0], f1 = factors[1], f2 = factors[2], f3 = factors[3];
  const float f4 = factors[4], f5 = factors[5], f6 = factors[6], f7 = factors[7];
  for (std::int64_t i = 0; i < count; ++i) {
    const float* v = values + i;
    const float first = f0 * v[0] + f1 * v[stride] + f2 * v[2 * stride] + f3 * v[3 * stride];
    const float second = f4 * v[4 * stride] + f5 * v[5 * stride] + f6 * v[6 * stride] + f7 * v[7 * stride];
    update_element(parameter[i], exp_avg[i], exp_avg_sq[i], gradient[i] + (first + second), c);
  }
}

BERTDIST_TARGET_CLONES
void add_scaled(float* __restrict sum, const float* __restrict values, float factor, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) sum[i] += factor * values[i];
}

}  // namespace

void outer_product_adamw(float* weight, float* exp_avg, float* exp_avg_sq, const float* left, const float* right,
                         std::int64_t batch, std::int64_t rows, std::int64_t columns, float scale,
                         const AdamWStep& step) {
  const Coefficients coefficients(step);
  const std::int64_t num_before_eight = batch < 8 ? batch : batch - 8;  // the last eight of a batch go all at once
  alignas(64) float gradient[kBlock];
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, columns - begin);
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* values = right + begin;
      const std::int64_t offset = row * columns + begin;
      std::fill_n(gradient, count, 0.0f);
      for (std::int64_t b = 0; b < num_before_eight; ++b) {
        add_scaled(gradient, values + b * columns, scale * left[b * rows + row], count);
      }
      if (batch < 8) {
        update(weight + offset, exp_avg + offset, exp_avg_sq + offset, gradient, count, coefficients);
        continue;
      }
      float factors[8];
      for (std::int64_t i = 0; i < 8; ++i) factors[i] = scale * left[(batch - 8 + i) * rows + row];
      update_of_eight(weight + offset, exp_avg + offset, exp_avg_sq + offset, gradient, values + (batch - 8) * columns,
                      columns, factors, count, coefficients);
    }
  }
}

void adamw(float* parameter, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count, float scale,
           const AdamWStep& step) {
  const Coefficients coefficients(step);
  alignas(64) float scaled[kBlock];
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, count - begin);
    std::fill_n(scaled, size, 0.0f);
    add_scaled(scaled, gradient + begin, scale, size);
    update(parameter + begin, exp_avg + begin, exp_avg_sq + begin, scaled, size, coefficients);
  }
}

}  // namespace bertdist
