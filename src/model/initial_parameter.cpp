#include "model/initial_parameter.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <numbers>

#include "base/content_hash.h"
#include "base/philox.h"

namespace bertdist {

namespace {

// Two independent standard normals from two random words (Box and Muller).
std::array<double, 2> normal_pair(std::uint32_t word0, std::uint32_t word1) {
  const double radius = std::sqrt(-2.0 * std::log((word0 + 0.5) * 0x1p-32));
  const double angle = 2.0 * std::numbers::pi * (word1 * 0x1p-32);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

// The four words of block i are normals 4 i to 4 i + 3; the name keys them through its hash.
at::Tensor keyed_normal(const std::string& name, const std::vector<std::int64_t>& shape, double deviation,
                        std::uint64_t seed) {
  const std::string digest = ContentHash().field(name).hex();
  const auto name0 = static_cast<std::uint32_t>(std::stoul(digest.substr(0, 8), nullptr, 16));
  const auto name1 = static_cast<std::uint32_t>(std::stoul(digest.substr(8, 8), nullptr, 16));
  const PhiloxKey key = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  at::Tensor result = at::empty(shape, at::kFloat);
  float* values = result.mutable_data_ptr<float>();
  for (std::int64_t first = 0; first < result.numel(); first += 4) {
    const auto block = static_cast<std::uint64_t>(first / 4);
    const PhiloxCounter words =
        philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), name0, name1}, key);
    const std::array<std::array<double, 2>, 2> pairs = {normal_pair(words[0], words[1]),
                                                        normal_pair(words[2], words[3])};
    for (std::int64_t i = 0; i < 4 && first + i < result.numel(); ++i) {
      values[first + i] = static_cast<float>(deviation * pairs[i / 2][i % 2]);
    }
  }
  return result;
}

}  // namespace

at::Tensor initial_parameter(const ParameterSpec& spec, const BertConfig& config, std::uint64_t seed) {
  if (spec.name.ends_with("bias")) return at::zeros(spec.shape, at::kFloat);
  if (spec.name.ends_with("LayerNorm.weight")) return at::ones(spec.shape, at::kFloat);
  return keyed_normal(spec.name, spec.shape, config.initializer_range, seed);
}

}  // namespace bertdist
