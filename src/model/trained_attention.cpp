#include "model/trained_attention.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <vector>

#include "model/vector_lanes.h"

namespace bertdist {

namespace {

// One head of one sequence. Rows of query, context and their gradients are the queries', those of the others the
// sequence's tokens; all are `stride` apart.
struct Head {
  std::int64_t num_queries, length, head_dim, stride;

  std::int64_t width() const { return round_up(length, kLine); }
  std::int64_t padded_dim() const { return round_up(head_dim, kLine); }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
};

// Memory for the largest head of a batch, of which each head takes what it needs. One allocation.
class Scratch {
 public:
  explicit Scratch(const Head& largest) {
    const std::int64_t dim = largest.padded_dim(), rows = round_up(largest.length, kQueries);
    const std::int64_t queries = round_up(largest.num_queries, kQueries);
    reserve(memory_, (2 * rows + 2 * queries + 2 * kQueries) * dim + largest.head_dim * largest.width() +
                         (2 * rows + kQueries) * (largest.width() + kLine) + kLine);
  }
  void clear() { used_ = 0; }
  float* take(std::int64_t num_floats) {
    float* const start = memory_.data()->values + used_;
    used_ += round_up(num_floats, kLine);
    return start;
  }

 private:
  Lines memory_;
  std::int64_t used_ = 0;
};

// out[head_dim, width] = the rows' transpose.
[[gnu::always_inline]] inline void transpose(const float* rows, const Head& head, float* out) {
  for (std::int64_t token = 0; token < head.length; ++token) {
    for (std::int64_t d = 0; d < head.head_dim; ++d) out[d * head.width() + token] = rows[token * head.stride + d];
  }
}

// out[count, padded_dim] = scale * the rows
[[gnu::always_inline]] inline void gather(const float* rows, std::int64_t count, const Head& head, float scale,
                                          float* out) {
  for (std::int64_t row = 0; row < count; ++row) {
    for (std::int64_t d = 0; d < head.head_dim; ++d) {
      out[row * head.padded_dim() + d] = scale * rows[row * head.stride + d];
    }
  }
}

// The first `count` rows = scale * block[kQueries, padded_dim]
[[gnu::always_inline]] inline void scatter(const float* block, std::int64_t count, const Head& head, float scale,
                                           float* rows) {
  for (std::int64_t row = 0; row < count; ++row) {
    for (std::int64_t d = 0; d < head.head_dim; ++d) {
      rows[row * head.stride + d] = scale * block[row * head.padded_dim() + d];
    }
  }
}

// probs[num_queries, length]: what is dropped is negative. mask: 0 or dropout's factor for each, or none.
struct Attend {
  template <std::int64_t lanes>
  [[gnu::always_inline]] static void run(const float* query, const float* key, const float* value, const float* mask,
                                         const Head& head, float* probs, float* context, Scratch& scratch) {
    const std::int64_t width = head.width(), padded_dim = head.padded_dim();
    float* keys = scratch.take(head.head_dim * width);
    float* values = scratch.take(head.length * padded_dim);
    float* queries = scratch.take(kQueries * padded_dim);
    float* scores = scratch.take(kQueries * width);
    float* block = scratch.take(kQueries * padded_dim);
    transpose(key, head, keys);
    gather(value, head.length, head, 1.0f, values);
    for (std::int64_t first = 0; first < head.num_queries; first += kQueries) {
      const std::int64_t count = std::min(kQueries, head.num_queries - first);
      gather(query + first * head.stride, count, head, head.scale(), queries);
      multiply<lanes>(queries, padded_dim, keys, head.head_dim, width, scores);
      for (std::int64_t i = 0; i < count; ++i) {
        float* const row = scores + i * width;
        const float inverse_sum = softmax<lanes>(row, head.length, width);
        const std::int64_t offset = (first + i) * head.length;
        for (std::int64_t k = 0; k < head.length; ++k) row[k] *= inverse_sum;
        if (mask == nullptr) {
          std::copy_n(row, head.length, probs + offset);
          continue;
        }
        for (std::int64_t k = 0; k < head.length; ++k) {
          probs[offset + k] = mask[offset + k] == 0.0f ? -row[k] : row[k];
          row[k] *= mask[offset + k];
        }
      }
      multiply<lanes>(scores, width, values, head.length, padded_dim, block);
      scatter(block, count, head, 1.0f, context + first * head.stride);
    }
  }
};

struct HeadGradients {
  float *query, *key, *value;
};

// With P the probabilities, M the mask and S the scores: dM∘P = dO V', dS = P∘(dP - rowsum(P∘dP)), dQ = dS K,
// dK = dS' Q, dV = (M∘P)' dO.
struct AttendBackward {
  template <std::int64_t lanes>
  [[gnu::always_inline]] static void run(const float* query, const float* key, const float* value,
                                         const float* d_context, const float* probs, float keep_factor,
                                         const Head& head, const HeadGradients& out, Scratch& scratch) {
    const std::int64_t width = head.width(), padded_dim = head.padded_dim(), queries_count = head.num_queries;
    float* values = scratch.take(head.head_dim * width);
    float* keys = scratch.take(head.length * padded_dim);
    float* queries = scratch.take(queries_count * padded_dim);
    float* d_contexts = scratch.take(round_up(queries_count, kQueries) * padded_dim);
    float* d_row = scratch.take(kQueries * width);
    float* block = scratch.take(kQueries * padded_dim);
    // Both transposed, [length, num_queries].
    float* d_scores = scratch.take(round_up(head.length, kQueries) * queries_count);
    float* kept = scratch.take(round_up(head.length, kQueries) * queries_count);
    transpose(value, head, values);
    gather(key, head.length, head, 1.0f, keys);
    gather(query, queries_count, head, head.scale(), queries);
    gather(d_context, queries_count, head, 1.0f, d_contexts);
    for (std::int64_t first = 0; first < queries_count; first += kQueries) {
      const std::int64_t count = std::min(kQueries, queries_count - first);
      multiply<lanes>(d_contexts + first * padded_dim, padded_dim, values, head.head_dim, width, d_row);
      for (std::int64_t i = 0; i < count; ++i) {
        const float* const p = probs + (first + i) * head.length;
        float* const d = d_row + i * width;
        Floats<lanes> sums = {};
        std::int64_t k = 0;
        for (; k + lanes <= head.length; k += lanes) {
          Floats<lanes> prob, gradient;
          load<lanes>(p + k, prob);
          load<lanes>(d + k, gradient);
          gradient = prob > 0.0f ? gradient * keep_factor : Floats<lanes>{};
          store<lanes>(gradient, d + k);
          sums += prob * gradient;
        }
        float sum = sum_of<lanes>(sums);
        for (; k < head.length; ++k) {
          d[k] = p[k] > 0 ? d[k] * keep_factor : 0.0f;
          sum += p[k] * d[k];
        }
        for (k = 0; k < head.length; ++k) {
          d[k] = std::abs(p[k]) * (d[k] - sum);
          d_scores[k * queries_count + first + i] = d[k];
          kept[k * queries_count + first + i] = p[k] > 0 ? p[k] * keep_factor : 0.0f;
        }
      }
      multiply<lanes>(d_row, width, keys, head.length, padded_dim, block);
      scatter(block, count, head, head.scale(), out.query + first * head.stride);
    }
    for (std::int64_t first = 0; first < head.length; first += kQueries) {
      const std::int64_t count = std::min(kQueries, head.length - first);
      multiply<lanes>(d_scores + first * queries_count, queries_count, queries, queries_count, padded_dim, block);
      scatter(block, count, head, 1.0f, out.key + first * head.stride);
      multiply<lanes>(kept + first * queries_count, queries_count, d_contexts, queries_count, padded_dim, block);
      scatter(block, count, head, 1.0f, out.value + first * head.stride);
    }
  }
};

// Where each head's numbers lie in the packed tensors; autograd keeps it from forward to backward.
class PackedHeads : public torch::CustomClassHolder {
 public:
  PackedHeads(const PackedLayout& layout, std::int64_t num_heads, bool first_token_only, std::int64_t hidden)
      : offsets_(layout.offsets), num_heads_(num_heads), first_token_only_(first_token_only), hidden_(hidden) {
    probs_offsets_.reserve(offsets_.size());
    probs_offsets_.push_back(0);
    for (std::int64_t row = 0; row < batch_size(); ++row) {
      const Head head = head_of(row);
      probs_offsets_.push_back(probs_offsets_.back() + num_heads_ * head.num_queries * head.length);
    }
  }

  std::int64_t num_probs() const { return probs_offsets_.back(); }

  // visit(place, scratch). All rows of a head one after the other, because rows are sorted by length: threads then have
  // about the same to do.
  struct Place {
    Head head;
    std::int64_t row, number;
    std::int64_t query, token, probs;  // offsets of its first element
  };
  template <typename Visit>
  void for_each_head(const Visit& visit) const {
    at::parallel_for(0, num_heads_ * batch_size(), batch_size(), [&](std::int64_t begin, std::int64_t end) {
      Scratch scratch(head_of(batch_size() - 1));
      for (std::int64_t task = begin; task < end; ++task) {
        scratch.clear();
        visit(place_of(task % batch_size(), task / batch_size()), scratch);
      }
    });
  }

 private:
  std::int64_t batch_size() const { return std::ssize(offsets_) - 1; }
  Head head_of(std::int64_t row) const {
    const std::int64_t length = offsets_[row + 1] - offsets_[row];
    return {first_token_only_ ? 1 : length, length, hidden_ / num_heads_, hidden_};
  }
  Place place_of(std::int64_t row, std::int64_t number) const {
    const Head head = head_of(row);
    const std::int64_t column = number * head.head_dim;
    return {.head = head,
            .row = row,
            .number = number,
            .query = (first_token_only_ ? row : offsets_[row]) * hidden_ + column,
            .token = offsets_[row] * hidden_ + column,
            .probs = probs_offsets_[row] + number * head.num_queries * head.length};
  }

  std::vector<std::int64_t> offsets_;        // [batch + 1], in tokens
  std::vector<std::int64_t> probs_offsets_;  // [batch + 1], in elements
  std::int64_t num_heads_;
  bool first_token_only_;
  std::int64_t hidden_;
};

class TrainedAttention : public torch::autograd::Function<TrainedAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const c10::intrusive_ptr<PackedHeads>& heads,
                            const std::vector<std::int64_t>& row_ids, const std::optional<AttentionDropout>& dropout) {
    const at::Tensor probs = at::empty({heads->num_probs()}, query.options());
    const at::Tensor result = at::empty_like(query);
    std::optional<KeyedMask> mask;
    if (dropout && dropout->p > 0) mask.emplace(dropout->p, dropout->dropout, dropout->site);
    const float *q = query.const_data_ptr<float>(), *k = key.const_data_ptr<float>(),
                *v = value.const_data_ptr<float>();
    float *out = result.mutable_data_ptr<float>(), *p = probs.mutable_data_ptr<float>();
    heads->for_each_head([&](const PackedHeads::Place& at, Scratch& scratch) {
      float* factors = nullptr;
      if (mask) {
        const std::int64_t size = at.head.num_queries * at.head.length;
        factors = scratch.take(size);
        mask->fill(factors, row_ids[at.row], at.number * size, size);
      }
      run_kernel<Attend>(q + at.query, k + at.token, v + at.token, factors, at.head, p + at.probs, out + at.query,
                         scratch);
    });
    context->save_for_backward({query, key, value, probs});
    context->saved_data["heads"] = c10::IValue::make_capsule(heads);
    context->saved_data["keep_factor"] = mask ? static_cast<double>(mask->keep_factor()) : 1.0;
    return result;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor d_context = d_outputs[0].contiguous();
    const auto capsule = context->saved_data["heads"].toCapsule();
    const auto& heads = static_cast<const PackedHeads&>(*capsule);
    const auto keep_factor = static_cast<float>(context->saved_data["keep_factor"].toDouble());
    at::Tensor d_query = at::empty_like(saved[0]), d_key = at::empty_like(saved[1]), d_value = at::empty_like(saved[2]);
    const auto read = [&](std::size_t index) { return saved[index].const_data_ptr<float>(); };
    const float *q = read(0), *k = read(1), *v = read(2), *p = read(3), *d_out = d_context.const_data_ptr<float>();
    float *d_q = d_query.mutable_data_ptr<float>(), *d_k = d_key.mutable_data_ptr<float>(),
          *d_v = d_value.mutable_data_ptr<float>();
    heads.for_each_head([&](const PackedHeads::Place& at, Scratch& scratch) {
      run_kernel<AttendBackward>(q + at.query, k + at.token, v + at.token, d_out + at.query, p + at.probs, keep_factor,
                                 at.head, HeadGradients{d_q + at.query, d_k + at.token, d_v + at.token}, scratch);
    });
    return {d_query, d_key, d_value, {}, {}, {}};
  }
};

}  // namespace

at::Tensor trained_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                             const PackedLayout& layout, std::int64_t num_heads, bool first_token_only,
                             const std::optional<AttentionDropout>& dropout) {
  const auto heads = c10::make_intrusive<PackedHeads>(layout, num_heads, first_token_only, query.size(1));
  return TrainedAttention::apply(query.contiguous(), key.contiguous(), value.contiguous(), heads, layout.row_ids,
                                 dropout);
}

}  // namespace bertdist
