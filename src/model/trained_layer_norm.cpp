#include "model/trained_layer_norm.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "model/vector_lanes.h"

namespace bertdist {

namespace {

// The gradients of weight and bias are summed in as many parts, whatever the number of threads is.
constexpr std::int64_t kParts = 16;
constexpr std::int64_t kGrain = 16;  // rows

// One row of `hidden` numbers; mask: 0 or dropout's factor for each, or none.
struct Normalize {
  template <std::int64_t lanes>
  [[gnu::always_inline]] static void run(const float* x, const float* mask, const float* residual, const float* weight,
                                         const float* bias, std::int64_t hidden, float eps, float* normalized,
                                         float* inverse_deviation, float* out) {
    using Vector = Floats<lanes>;
    const float scale = 1.0f / static_cast<float>(hidden);
    const std::int64_t whole = hidden / lanes * lanes;
    Vector sums = {};
    for (std::int64_t i = 0; i < whole; i += lanes) {
      const Vector sum =
          (mask == nullptr ? vector_at<lanes>(x + i) : vector_at<lanes>(x + i) * vector_at<lanes>(mask + i)) +
          vector_at<lanes>(residual + i);
      store<lanes>(sum, normalized + i);
      sums += sum;
    }
    float total = sum_of<lanes>(sums);
    for (std::int64_t i = whole; i < hidden; ++i) {
      normalized[i] = (mask == nullptr ? x[i] : x[i] * mask[i]) + residual[i];
      total += normalized[i];
    }
    const float mean = total * scale;
    Vector squares = {};
    for (std::int64_t i = 0; i < whole; i += lanes) {
      const Vector distance = vector_at<lanes>(normalized + i) - mean;
      squares += distance * distance;
    }
    float square = sum_of<lanes>(squares);
    for (std::int64_t i = whole; i < hidden; ++i) square += (normalized[i] - mean) * (normalized[i] - mean);
    const float inverse = 1.0f / std::sqrt(square * scale + eps);
    *inverse_deviation = inverse;
    for (std::int64_t i = 0; i < whole; i += lanes) {
      const Vector value = (vector_at<lanes>(normalized + i) - mean) * inverse;
      store<lanes>(value, normalized + i);
      store<lanes>(value * vector_at<lanes>(weight + i) + vector_at<lanes>(bias + i), out + i);
    }
    for (std::int64_t i = whole; i < hidden; ++i) {
      normalized[i] = (normalized[i] - mean) * inverse;
      out[i] = normalized[i] * weight[i] + bias[i];
    }
  }
};

// With n the normalized row, r the inverse deviation and g = weight * d_out: d_sum = r (g - mean(g) - n mean(g n)).
struct NormalizeBackward {
  template <std::int64_t lanes>
  [[gnu::always_inline]] static void run(const float* d_out, const float* normalized, float inverse_deviation,
                                         const float* mask, const float* weight, std::int64_t hidden, float* d_sum,
                                         float* d_x, float* d_weight, float* d_bias) {
    using Vector = Floats<lanes>;
    const std::int64_t whole = hidden / lanes * lanes;
    Vector sums = {}, products = {};
    for (std::int64_t i = 0; i < whole; i += lanes) {
      const Vector d = vector_at<lanes>(d_out + i), n = vector_at<lanes>(normalized + i),
                   g = d * vector_at<lanes>(weight + i);
      sums += g;
      products += g * n;
      store<lanes>(vector_at<lanes>(d_weight + i) + d * n, d_weight + i);
      store<lanes>(vector_at<lanes>(d_bias + i) + d, d_bias + i);
    }
    float mean = sum_of<lanes>(sums), product = sum_of<lanes>(products);
    for (std::int64_t i = whole; i < hidden; ++i) {
      const float g = d_out[i] * weight[i];
      mean += g;
      product += g * normalized[i];
      d_weight[i] += d_out[i] * normalized[i];
      d_bias[i] += d_out[i];
    }
    mean /= static_cast<float>(hidden);
    product /= static_cast<float>(hidden);
    for (std::int64_t i = 0; i < whole; i += lanes) {
      const Vector g = vector_at<lanes>(d_out + i) * vector_at<lanes>(weight + i);
      const Vector d = inverse_deviation * (g - mean - vector_at<lanes>(normalized + i) * product);
      store<lanes>(d, d_sum + i);
      if (mask != nullptr) store<lanes>(d * vector_at<lanes>(mask + i), d_x + i);
    }
    for (std::int64_t i = whole; i < hidden; ++i) {
      d_sum[i] = inverse_deviation * (d_out[i] * weight[i] - mean - normalized[i] * product);
      if (mask != nullptr) d_x[i] = d_sum[i] * mask[i];
    }
  }
};

class HiddenMask {
 public:
  HiddenMask(const HiddenDropout& dropout, std::int64_t hidden)
      : mask_(dropout.p, dropout.dropout, dropout.site),
        row_ids_(dropout.row_ids),
        offsets_(dropout.offsets),
        hidden_(hidden) {}

  // Of one row of a tensor [rows, hidden].
  void fill(float* mask, std::int64_t row) const {
    const std::int64_t element = row * hidden_;
    const auto next = std::upper_bound(offsets_.begin(), offsets_.end(), element);
    const auto sequence = static_cast<std::size_t>(next - offsets_.begin()) - 1;
    mask_.fill(mask, row_ids_[sequence], element - offsets_[sequence], hidden_);
  }

 private:
  KeyedMask mask_;
  std::span<const std::int64_t> row_ids_, offsets_;
  std::int64_t hidden_;
};

class DropoutAddLayerNorm : public torch::autograd::Function<DropoutAddLayerNorm> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& residual,
                            const at::Tensor& weight, const at::Tensor& bias, double eps,
                            const std::optional<HiddenDropout>& dropout) {
    const std::int64_t num_rows = x.size(0), hidden = x.size(1);
    const bool drops = dropout && dropout->p > 0;
    at::Tensor result = at::empty_like(x), normalized = at::empty_like(x);
    at::Tensor inverse_deviation = at::empty({num_rows}, x.options());
    at::Tensor mask = drops ? at::empty_like(x) : at::Tensor();
    const auto read = [](const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); };
    const float *in = read(x), *added = read(residual), *scale = read(weight), *shift = read(bias);
    float *out = result.mutable_data_ptr<float>(), *norm = normalized.mutable_data_ptr<float>(),
          *inverse = inverse_deviation.mutable_data_ptr<float>(),
          *factors = drops ? mask.mutable_data_ptr<float>() : nullptr;
    std::optional<HiddenMask> hidden_mask;
    if (drops) hidden_mask.emplace(*dropout, hidden);
    at::parallel_for(0, num_rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t first = row * hidden;
        if (hidden_mask) hidden_mask->fill(factors + first, row);
        run_kernel<Normalize>(in + first, drops ? factors + first : nullptr, added + first, scale, shift, hidden,
                              static_cast<float>(eps), norm + first, inverse + row, out + first);
      }
    });
    context->save_for_backward({normalized, inverse_deviation, weight, mask});
    return result;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &normalized = saved[0], &mask = saved[3];
    const at::Tensor d_result = d_outputs[0].contiguous();
    const std::int64_t num_rows = normalized.size(0), hidden = normalized.size(1);
    const auto read = [](const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); };
    const float *d_out = read(d_result), *norm = read(normalized), *inverse = read(saved[1]), *scale = read(saved[2]),
                *factors = mask.defined() ? read(mask) : nullptr;
    at::Tensor d_residual = at::empty_like(normalized);
    at::Tensor d_x = mask.defined() ? at::empty_like(normalized) : d_residual;
    float *d_sum = d_residual.mutable_data_ptr<float>(), *d_in = d_x.mutable_data_ptr<float>();
    std::vector<float> sums(static_cast<std::size_t>(kParts * 2 * hidden));  // of weight's and bias's gradients
    at::parallel_for(0, kParts, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t part = begin; part < end; ++part) {
        float* const d_weight = sums.data() + part * 2 * hidden;
        for (std::int64_t row = part * num_rows / kParts; row < (part + 1) * num_rows / kParts; ++row) {
          const std::int64_t first = row * hidden;
          run_kernel<NormalizeBackward>(d_out + first, norm + first, inverse[row],
                                        factors == nullptr ? nullptr : factors + first, scale, hidden, d_sum + first,
                                        d_in + first, d_weight, d_weight + hidden);
        }
      }
    });
    for (std::int64_t part = 1; part < kParts; ++part) {
      for (std::int64_t i = 0; i < 2 * hidden; ++i) sums[i] += sums[part * 2 * hidden + i];
    }
    at::Tensor d_weight = at::empty({hidden}, normalized.options()), d_bias = at::empty_like(d_weight);
    std::copy_n(sums.begin(), hidden, d_weight.mutable_data_ptr<float>());
    std::copy_n(sums.begin() + hidden, hidden, d_bias.mutable_data_ptr<float>());
    return {d_x, d_residual, d_weight, d_bias, {}, {}};
  }
};

}  // namespace

at::Tensor dropout_add_layer_norm(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& weight,
                                  const at::Tensor& bias, double eps, const std::optional<HiddenDropout>& dropout) {
  if (x.sizes() != residual.sizes()) throw Error(ExitCode::internal, "x and residual differ in shape");
  if (dropout) require_fitting_rows(x, dropout->row_ids, dropout->offsets);
  return DropoutAddLayerNorm::apply(x.contiguous(), residual.contiguous(), weight, bias, eps, dropout);
}

}  // namespace bertdist
