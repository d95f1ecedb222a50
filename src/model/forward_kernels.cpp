#include "model/forward_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/target_clones.h"

namespace bertdist {

namespace {

// Vectors of the compiler, which it maps to what the processor has. They never pass a function's border, where their
// size would change the calling convention.
constexpr std::int64_t kLanes = 16;
using Floats __attribute__((vector_size(64), may_alias)) = float;
using Integers __attribute__((vector_size(64))) = std::int32_t;
using Words __attribute__((vector_size(64))) = std::uint32_t;
using HalfWords __attribute__((vector_size(32))) = std::uint16_t;

constexpr std::int64_t kQueries = 4;  // handled at once, so that a key or value is read once for all of them

struct alignas(64) Line {
  float values[kLanes];
};
using Lines = std::vector<Line>;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

float* reserve(Lines& lines, std::int64_t num_floats) {
  lines.resize(static_cast<std::size_t>(round_up(num_floats, kLanes) / kLanes));
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

[[gnu::always_inline]] inline void load(const float* from, Floats& to) {
  std::memcpy(&to, from, sizeof(to));
}
[[gnu::always_inline]] inline void load(const c10::BFloat16* from, Floats& to) {
  HalfWords halves;
  std::memcpy(&halves, from, sizeof(halves));
  const Words bits = __builtin_convertvector(halves, Words) << 16;
  std::memcpy(&to, &bits, sizeof(to));
}

[[gnu::always_inline]] inline void store(const Floats& from, float* to) {
  std::memcpy(to, &from, sizeof(from));
}
// Rounds to nearest, ties to even; what is not a number stays so.
[[gnu::always_inline]] inline void store(const Floats& from, c10::BFloat16* to) {
  Words bits;
  std::memcpy(&bits, &from, sizeof(bits));
  const Words rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const Words nan = (bits >> 16) | 0x40;
  const HalfWords halves = __builtin_convertvector((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded, HalfWords);
  std::memcpy(to, &halves, sizeof(halves));
}

[[gnu::always_inline]] inline float sum_of(const Floats& lanes) {
  float sum = 0;
  for (std::int64_t lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

// For arguments of at most 0, to 2 units in the last place; below -87 it stays at the smallest normal numbers.
[[gnu::always_inline]] inline void exponential(Floats& x) {
  const Floats lowest = Floats{} - 87.0f;
  const Floats argument = x < lowest ? lowest : x;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
  const Floats shifted = argument * 1.44269504f + 12582912.0f;
  const Floats whole = shifted - 12582912.0f;
  const Floats rest = argument - whole * 0.693359375f + whole * 2.12194440e-4f;
  Floats result = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  result = result * rest + 8.3334519073e-3f;
  result = result * rest + 4.1665795894e-2f;
  result = result * rest + 1.6666665459e-1f;
  result = result * rest + 5.0000001201e-1f;
  result = result * rest * rest + rest + 1.0f;
  Integers bits, exponent;
  std::memcpy(&bits, &result, sizeof(bits));
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  bits += exponent << 23;
  std::memcpy(&x, &bits, sizeof(x));
}

// out[kQueries, width] = left[kQueries, depth] * right[depth, width]; right and out are aligned, width whole lines.
[[gnu::always_inline]] inline void multiply(const float* left, std::int64_t left_stride, const float* right,
                                            std::int64_t depth, std::int64_t width, float* out) {
  const auto* right_lines = reinterpret_cast<const Floats*>(right);
  auto* out_lines = reinterpret_cast<Floats*>(out);
  const std::int64_t lines_a_row = width / kLanes;
  std::int64_t line = 0;
  for (; line + 2 <= lines_a_row; line += 2) {
    Floats sums[kQueries][2] = {};
    for (std::int64_t k = 0; k < depth; ++k) {
      const Floats right0 = right_lines[k * lines_a_row + line];
      const Floats right1 = right_lines[k * lines_a_row + line + 1];
      for (std::int64_t query = 0; query < kQueries; ++query) {
        sums[query][0] += left[query * left_stride + k] * right0;
        sums[query][1] += left[query * left_stride + k] * right1;
      }
    }
    for (std::int64_t query = 0; query < kQueries; ++query) {
      out_lines[query * lines_a_row + line] = sums[query][0];
      out_lines[query * lines_a_row + line + 1] = sums[query][1];
    }
  }
  if (line < lines_a_row) {
    Floats sums[kQueries] = {};
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t query = 0; query < kQueries; ++query) {
        sums[query] += left[query * left_stride + k] * right_lines[k * lines_a_row + line];
      }
    }
    for (std::int64_t query = 0; query < kQueries; ++query) out_lines[query * lines_a_row + line] = sums[query];
  }
}

// Turns a row of `length` scores into probabilities that still have to be multiplied by what is returned.
[[gnu::always_inline]] inline float softmax(float* scores, std::int64_t length, std::int64_t width) {
  std::fill(scores + length, scores + width, -std::numeric_limits<float>::infinity());
  auto* lines = reinterpret_cast<Floats*>(scores);
  Floats largest = lines[0];
  for (std::int64_t line = 1; line < width / kLanes; ++line) largest = lines[line] > largest ? lines[line] : largest;
  float maximum = largest[0];
  for (std::int64_t lane = 1; lane < kLanes; ++lane) maximum = std::max(maximum, largest[lane]);
  Floats sums = {};
  for (std::int64_t line = 0; line < width / kLanes; ++line) {
    lines[line] -= maximum;
    exponential(lines[line]);
    sums += lines[line];
  }
  return 1.0f / sum_of(sums);
}

template <typename T>
struct Rows {
  const T* data;
  std::int64_t stride;
};

struct AttentionScratch {
  Lines keys, values, queries, scores, context;
};

// One head of one sequence. `context` has rows of `context_stride` elements.
template <typename T>
[[gnu::always_inline]] inline void attend(Rows<T> query, Rows<T> key, Rows<T> value, std::int64_t num_queries,
                                          std::int64_t length, std::int64_t head_dim, T* context,
                                          std::int64_t context_stride, AttentionScratch& scratch) {
  const std::int64_t width = round_up(length, kLanes);
  const std::int64_t padded_dim = round_up(head_dim, kLanes);
  float* keys = reserve(scratch.keys, head_dim * width);           // [head_dim, width]
  float* values = reserve(scratch.values, length * padded_dim);    // [length, padded_dim]
  float* queries = reserve(scratch.queries, kQueries * head_dim);  // [kQueries, head_dim]
  float* scores = reserve(scratch.scores, kQueries * width);       // [kQueries, width]
  float* sums = reserve(scratch.context, kQueries * padded_dim);   // [kQueries, padded_dim]
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));

  for (std::int64_t token = 0; token < length; ++token) {
    for (std::int64_t d = 0; d < head_dim; ++d) keys[d * width + token] = to_float(key.data[token * key.stride + d]);
    for (std::int64_t d = 0; d < head_dim; ++d) {
      values[token * padded_dim + d] = to_float(value.data[token * value.stride + d]);
    }
  }
  for (std::int64_t first = 0; first < num_queries; first += kQueries) {
    const std::int64_t count = std::min(kQueries, num_queries - first);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t d = 0; d < head_dim; ++d) {
        queries[i * head_dim + d] = scale * to_float(query.data[(first + i) * query.stride + d]);
      }
    }
    multiply(queries, head_dim, keys, head_dim, width, scores);
    float inverse_sums[kQueries];
    for (std::int64_t i = 0; i < count; ++i) inverse_sums[i] = softmax(scores + i * width, length, width);
    multiply(scores, width, values, length, padded_dim, sums);
    for (std::int64_t i = 0; i < count; ++i) {
      T* out = context + (first + i) * context_stride;
      std::int64_t d = 0;
      for (; d + kLanes <= head_dim; d += kLanes) {
        const Floats line = *reinterpret_cast<const Floats*>(sums + i * padded_dim + d) * inverse_sums[i];
        store(line, out + d);
      }
      for (; d < head_dim; ++d) out[d] = static_cast<T>(sums[i * padded_dim + d] * inverse_sums[i]);
    }
  }
}

BERTDIST_TARGET_CLONES
void attend_float32(Rows<float> query, Rows<float> key, Rows<float> value, std::int64_t num_queries,
                    std::int64_t length, std::int64_t head_dim, float* context, std::int64_t context_stride,
                    AttentionScratch& scratch) {
  attend(query, key, value, num_queries, length, head_dim, context, context_stride, scratch);
}

BERTDIST_TARGET_CLONES
void attend_bfloat16(Rows<c10::BFloat16> query, Rows<c10::BFloat16> key, Rows<c10::BFloat16> value,
                     std::int64_t num_queries, std::int64_t length, std::int64_t head_dim, c10::BFloat16* context,
                     std::int64_t context_stride, AttentionScratch& scratch) {
  attend(query, key, value, num_queries, length, head_dim, context, context_stride, scratch);
}

template <typename T, typename Attend>
void attend_all(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                std::span<const std::int32_t> cu_seqlens, std::int64_t num_heads, bool first_token_only,
                at::Tensor& context, Attend attend_head) {
  const auto rows_of = [](const at::Tensor& tensor, std::int64_t row, std::int64_t column) {
    return Rows<T>{tensor.const_data_ptr<T>() + row * tensor.stride(0) + column, tensor.stride(0)};
  };
  const std::int64_t head_dim = key.size(1) / num_heads;
  T* const out = context.mutable_data_ptr<T>();
  const std::int64_t num_tasks = (std::ssize(cu_seqlens) - 1) * num_heads;
  at::parallel_for(0, num_tasks, num_heads, [&](std::int64_t begin, std::int64_t end) {
    AttentionScratch scratch;
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t row = task / num_heads;
      const std::int64_t column = task % num_heads * head_dim;
      const std::int64_t first = cu_seqlens[static_cast<std::size_t>(row)];
      const std::int64_t length = cu_seqlens[static_cast<std::size_t>(row) + 1] - first;
      const std::int64_t first_query = first_token_only ? row : first;
      attend_head(rows_of(query, first_query, column), rows_of(key, first, column), rows_of(value, first, column),
                  first_token_only ? 1 : length, length, head_dim, out + first_query * context.stride(0) + column,
                  context.stride(0), scratch);
    }
  });
}

struct NormParameters {
  const float* weight;
  const float* bias;
  float eps;
  std::int64_t hidden;
};

// `row` has room for whole lines; beyond `hidden` it is zero.
template <typename T>
[[gnu::always_inline]] inline void normalize(float* row, const NormParameters& norm, float* hidden, T* copy) {
  auto* lines = reinterpret_cast<Floats*>(row);
  const std::int64_t num_lines = round_up(norm.hidden, kLanes) / kLanes;
  Floats sums = {};
  for (std::int64_t line = 0; line < num_lines; ++line) sums += lines[line];
  const float mean = sum_of(sums) / static_cast<float>(norm.hidden);
  Floats squares = {};
  for (std::int64_t line = 0; line < num_lines; ++line) {
    const Floats difference = lines[line] - mean;
    squares += difference * difference;
  }
  const auto padding = static_cast<float>(num_lines * kLanes - norm.hidden);
  const float variance = (sum_of(squares) - padding * mean * mean) / static_cast<float>(norm.hidden);
  const float factor = 1.0f / std::sqrt(std::max(variance, 0.0f) + norm.eps);
  std::int64_t i = 0;
  for (; i + kLanes <= norm.hidden; i += kLanes) {
    Floats weight, bias;
    load(norm.weight + i, weight);
    load(norm.bias + i, bias);
    const Floats result = (lines[i / kLanes] - mean) * factor * weight + bias;
    store(result, hidden + i);
    if constexpr (!std::is_same_v<T, float>) store(result, copy + i);
  }
  for (; i < norm.hidden; ++i) {
    hidden[i] = (row[i] - mean) * factor * norm.weight[i] + norm.bias[i];
    if constexpr (!std::is_same_v<T, float>) copy[i] = static_cast<T>(hidden[i]);
  }
}

template <typename T>
[[gnu::always_inline]] inline void add_rows(float* row, const float* hidden, const T* x, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Floats residual, addend;
    load(hidden + i, residual);
    load(x + i, addend);
    store(residual + addend, row + i);
  }
  for (; i < size; ++i) row[i] = hidden[i] + to_float(x[i]);
}

template <typename T>
[[gnu::always_inline]] inline void add_layer_norm_rows(const T* x, float* hidden, T* copy, std::int64_t begin,
                                                       std::int64_t end, const NormParameters& norm) {
  Lines scratch;
  float* row = reserve(scratch, norm.hidden);
  for (std::int64_t i = begin; i < end; ++i) {
    add_rows(row, hidden + i * norm.hidden, x + i * norm.hidden, norm.hidden);
    normalize(row, norm, hidden + i * norm.hidden, copy + i * norm.hidden);
  }
}

BERTDIST_TARGET_CLONES
void add_layer_norm_float32(const float* x, float* hidden, float* copy, std::int64_t begin, std::int64_t end,
                            const NormParameters& norm) {
  add_layer_norm_rows(x, hidden, copy, begin, end, norm);
}

BERTDIST_TARGET_CLONES
void add_layer_norm_bfloat16(const c10::BFloat16* x, float* hidden, c10::BFloat16* copy, std::int64_t begin,
                             std::int64_t end, const NormParameters& norm) {
  add_layer_norm_rows(x, hidden, copy, begin, end, norm);
}

constexpr std::int64_t kRowsPerTask = 32;

NormParameters parameters_of(const LayerNormWeights& layer_norm) {
  return {layer_norm.weight.const_data_ptr<float>(), layer_norm.bias.const_data_ptr<float>(),
          static_cast<float>(layer_norm.eps), layer_norm.weight.numel()};
}

}  // namespace

void attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
               std::span<const std::int32_t> cu_seqlens, std::int64_t num_heads, bool first_token_only,
               at::Tensor& context) {
  if (key.scalar_type() == at::kBFloat16) {
    attend_all<c10::BFloat16>(query, key, value, cu_seqlens, num_heads, first_token_only, context, attend_bfloat16);
  } else {
    attend_all<float>(query, key, value, cu_seqlens, num_heads, first_token_only, context, attend_float32);
  }
}

void add_layer_norm(const at::Tensor& x, const LayerNormWeights& layer_norm, at::Tensor& hidden, at::Tensor& copy) {
  const NormParameters norm = parameters_of(layer_norm);
  float* const out = hidden.mutable_data_ptr<float>();
  at::parallel_for(0, hidden.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    if (x.scalar_type() == at::kBFloat16) {
      add_layer_norm_bfloat16(x.const_data_ptr<c10::BFloat16>(), out, copy.mutable_data_ptr<c10::BFloat16>(), begin,
                              end, norm);
    } else {
      add_layer_norm_float32(x.const_data_ptr<float>(), out, copy.mutable_data_ptr<float>(), begin, end, norm);
    }
  });
}

void embed_layer_norm(const EmbeddingTables& tables, const at::Tensor& token_ids, const at::Tensor& position_ids,
                      const at::Tensor& token_type_ids, const LayerNormWeights& layer_norm, at::Tensor& hidden,
                      at::Tensor& copy) {
  const std::int64_t num_tokens = token_ids.numel();
  const std::int64_t width = layer_norm.weight.numel();
  const auto table_row = [&](const at::Tensor& table, const at::Tensor& ids, std::int64_t token) {
    const std::int64_t id = ids.const_data_ptr<std::int64_t>()[token];
    if (id < 0 || id >= table.size(0)) throw Error(ExitCode::internal, "an embedding table lacks a token's id");
    return table.const_data_ptr<float>() + id * width;
  };
  float* const out = hidden.mutable_data_ptr<float>();
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const float* word = table_row(tables.words, token_ids, token);
    const float* type = table_row(tables.token_types, token_type_ids, token);
    const float* position = table_row(tables.positions, position_ids, token);
    float* row = out + token * width;
    for (std::int64_t i = 0; i < width; ++i) row[i] = word[i] + type[i] + position[i];
  }
  at::Tensor used_copy = copy.narrow(0, 0, num_tokens);
  at::Tensor used = hidden.narrow(0, 0, num_tokens);
  add_layer_norm(at::zeros(used.sizes(), copy.options()), layer_norm, used, used_copy);
}

}  // namespace bertdist
