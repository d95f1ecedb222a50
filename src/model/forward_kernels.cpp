#include "model/forward_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "model/vector_lanes.h"

namespace bertdist {

namespace {

struct AttentionScratch {
  Lines keys, values, queries, scores, context;
};

// One head of one sequence. `context` has rows of `context_stride` elements.
struct Attend {
  template <std::int64_t lanes, typename T>
  [[gnu::always_inline]] static void run(Rows<T> query, Rows<T> key, Rows<T> value, std::int64_t num_queries,
                                         std::int64_t length, std::int64_t head_dim, T* context,
                                         std::int64_t context_stride, AttentionScratch& scratch) {
    const std::int64_t width = round_up(length, kLine);
    const std::int64_t padded_dim = round_up(head_dim, kLine);
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
      multiply<lanes>(queries, head_dim, keys, head_dim, width, scores);
      float inverse_sums[kQueries];
      for (std::int64_t i = 0; i < count; ++i) inverse_sums[i] = softmax<lanes>(scores + i * width, length, width);
      multiply<lanes>(scores, width, values, length, padded_dim, sums);
      for (std::int64_t i = 0; i < count; ++i) {
        T* out = context + (first + i) * context_stride;
        std::int64_t d = 0;
        for (; d + lanes <= head_dim; d += lanes) {
          const Floats<lanes> line =
              *reinterpret_cast<const Floats<lanes>*>(sums + i * padded_dim + d) * inverse_sums[i];
          store<lanes>(line, out + d);
        }
        for (; d < head_dim; ++d) out[d] = static_cast<T>(sums[i * padded_dim + d] * inverse_sums[i]);
      }
    }
  }
};

template <typename T>
void attend_all(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                std::span<const std::int32_t> cu_seqlens, std::int64_t num_heads, bool first_token_only,
                at::Tensor& context) {
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
      run_kernel<Attend>(rows_of(query, first_query, column), rows_of(key, first, column),
                         rows_of(value, first, column), first_token_only ? 1 : length, length, head_dim,
                         out + first_query * context.stride(0) + column, context.stride(0), scratch);
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
template <std::int64_t lanes, typename T>
[[gnu::always_inline]] inline void normalize(float* row, const NormParameters& norm, float* hidden, T* copy) {
  auto* lines = reinterpret_cast<Floats<lanes>*>(row);
  const std::int64_t num_lines = round_up(norm.hidden, kLine) / lanes;
  Floats<lanes> sums = {};
  for (std::int64_t line = 0; line < num_lines; ++line) sums += lines[line];
  const float mean = sum_of<lanes>(sums) / static_cast<float>(norm.hidden);
  Floats<lanes> squares = {};
  for (std::int64_t line = 0; line < num_lines; ++line) {
    const Floats<lanes> difference = lines[line] - mean;
    squares += difference * difference;
  }
  const auto padding = static_cast<float>(num_lines * lanes - norm.hidden);
  const float variance = (sum_of<lanes>(squares) - padding * mean * mean) / static_cast<float>(norm.hidden);
  const float factor = 1.0f / std::sqrt(std::max(variance, 0.0f) + norm.eps);
  std::int64_t i = 0;
  for (; i + lanes <= norm.hidden; i += lanes) {
    Floats<lanes> weight, bias;
    load<lanes>(norm.weight + i, weight);
    load<lanes>(norm.bias + i, bias);
    const Floats<lanes> result = (lines[i / lanes] - mean) * factor * weight + bias;
    store<lanes>(result, hidden + i);
    if constexpr (!std::is_same_v<T, float>) store<lanes>(result, copy + i);
  }
  for (; i < norm.hidden; ++i) {
    hidden[i] = (row[i] - mean) * factor * norm.weight[i] + norm.bias[i];
    if constexpr (!std::is_same_v<T, float>) copy[i] = static_cast<T>(hidden[i]);
  }
}

template <std::int64_t lanes, typename T>
[[gnu::always_inline]] inline void add_rows(float* row, const float* hidden, const T* x, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    Floats<lanes> residual, addend;
    load<lanes>(hidden + i, residual);
    load<lanes>(x + i, addend);
    store<lanes>(residual + addend, row + i);
  }
  for (; i < size; ++i) row[i] = hidden[i] + to_float(x[i]);
}

struct AddLayerNorm {
  template <std::int64_t lanes, typename T>
  [[gnu::always_inline]] static void run(const T* x, float* hidden, T* copy, std::int64_t begin, std::int64_t end,
                                         const NormParameters& norm) {
    Lines scratch;
    float* row = reserve(scratch, norm.hidden);
    for (std::int64_t i = begin; i < end; ++i) {
      add_rows<lanes>(row, hidden + i * norm.hidden, x + i * norm.hidden, norm.hidden);
      normalize<lanes>(row, norm, hidden + i * norm.hidden, copy + i * norm.hidden);
    }
  }
};

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
    attend_all<c10::BFloat16>(query, key, value, cu_seqlens, num_heads, first_token_only, context);
  } else {
    attend_all<float>(query, key, value, cu_seqlens, num_heads, first_token_only, context);
  }
}

void add_layer_norm(const at::Tensor& x, const LayerNormWeights& layer_norm, at::Tensor& hidden, at::Tensor& copy) {
  const NormParameters norm = parameters_of(layer_norm);
  float* const out = hidden.mutable_data_ptr<float>();
  at::parallel_for(0, hidden.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    if (x.scalar_type() == at::kBFloat16) {
      run_kernel<AddLayerNorm>(x.const_data_ptr<c10::BFloat16>(), out, copy.mutable_data_ptr<c10::BFloat16>(), begin,
                               end, norm);
    } else {
      run_kernel<AddLayerNorm>(x.const_data_ptr<float>(), out, copy.mutable_data_ptr<float>(), begin, end, norm);
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
