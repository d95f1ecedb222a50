// How near the forward-only pass comes to the rate of its matrix products alone:
// frozen_pass_bench MODEL_FOLDER [ROW_LENGTH [TOKENS_A_BATCH [ROUNDS]]]
//
// One thread, in CPU time, so that other programs disturb little. Each round times the pass and its matrix products one
// after the other; printed are the medians over rounds, of the ratio too. Products are counted for real tokens only.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <vector>

#include "base/error.h"
#include "model/bert.h"
#include "model/frozen_encoder.h"
#include "model/packed_linear.h"

namespace bertdist {
namespace {

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds_of(const std::function<void()>& work) {
  const double start = cpu_seconds();
  work();
  return cpu_seconds() - start;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

BertInput make_input(std::int64_t num_rows, std::int64_t length, std::int64_t vocab_size) {
  BertInput input;
  input.token_ids = at::randint(vocab_size, {num_rows * length}, at::kLong);
  input.token_type_ids = at::zeros({num_rows * length}, at::kLong);
  input.position_ids = at::arange(length, at::kLong).repeat({num_rows});
  for (std::int64_t row = 0; row <= num_rows; ++row) {
    input.cu_seqlens.push_back(static_cast<std::int32_t>(row * length));
    if (row < num_rows) input.row_ids.push_back(row);
  }
  return input;
}

// The matrix products of one layer, and of the last one, in which most are for [CLS] alone.
class Products {
 public:
  Products(const BertConfig& config, std::int64_t num_tokens, std::int64_t num_rows, at::ScalarType dtype)
      : num_layers_(config.num_hidden_layers) {
    const std::int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
    add(whole_, num_tokens, hidden, 3 * hidden, "", dtype);
    add(last_, num_tokens, hidden, 2 * hidden, "", dtype);
    add(last_, num_rows, hidden, hidden, "", dtype);
    for (auto [products, rows] : {std::pair(&whole_, num_tokens), std::pair(&last_, num_rows)}) {
      add(*products, rows, hidden, hidden, "", dtype);
      add(*products, rows, hidden, intermediate, config.hidden_act, dtype);
      add(*products, rows, intermediate, hidden, "", dtype);
    }
  }

  double flop() const { return static_cast<double>(num_layers_ - 1) * flop_of(whole_) + flop_of(last_); }
  void run() const {
    for (std::int64_t layer = 0; layer < num_layers_; ++layer) {
      for (const Product& product : layer + 1 == num_layers_ ? last_ : whole_) product.linear(product.x);
    }
  }

 private:
  struct Product {
    at::Tensor x;
    PackedLinear linear;
    double flop;
  };
  static void add(std::vector<Product>& products, std::int64_t rows, std::int64_t in, std::int64_t out,
                  const std::string& hidden_act, at::ScalarType dtype) {
    products.push_back({at::randn({rows, in}).to(dtype),
                        PackedLinear(0.05 * at::randn({out, in}), at::randn({out}), dtype, hidden_act),
                        2.0 * static_cast<double>(rows * in * out)});
  }
  static double flop_of(const std::vector<Product>& products) {
    double sum = 0;
    for (const Product& product : products) sum += product.flop;
    return sum;
  }

  std::int64_t num_layers_;
  std::vector<Product> whole_, last_;
};

void measure(const BertForSequenceClassification& model, std::int64_t length, std::int64_t num_rows, int rounds,
             at::ScalarType dtype) {
  const BertConfig& config = model.config();
  const std::int64_t num_tokens = num_rows * length;
  const FrozenEncoder encoder(model, config.num_hidden_layers, dtype);
  const BertInput input = make_input(num_rows, length, config.vocab_size);
  const Products products(config, num_tokens, num_rows, dtype);
  const at::Tensor qkv = at::randn({num_tokens, 3 * config.hidden_size}).to(dtype);
  at::Tensor context = at::empty({num_tokens, config.hidden_size}, dtype);
  at::Tensor hidden = at::randn({num_tokens, config.hidden_size});
  at::Tensor copy = dtype == at::kFloat ? hidden : hidden.to(dtype);
  const LayerNormWeights norm{at::ones({config.hidden_size}), at::zeros({config.hidden_size}), 1e-12};
  const auto part = [&](std::int64_t index) { return qkv.narrow(1, index * config.hidden_size, config.hidden_size); };

  std::vector<double> pass, alone, ratio, attending, normalizing;
  for (int round = -2; round < rounds; ++round) {
    const double pass_seconds = seconds_of([&] { encoder.forward(input); });
    const double alone_seconds = seconds_of([&] { products.run(); });
    const double attention_seconds = seconds_of(
        [&] { attention(part(0), part(1), part(2), input.cu_seqlens, config.num_attention_heads, false, context); });
    const double norm_seconds = seconds_of([&] { add_layer_norm(context, norm, hidden, copy); });
    if (round < 0) continue;
    pass.push_back(pass_seconds);
    alone.push_back(alone_seconds);
    ratio.push_back(alone_seconds / pass_seconds);
    attending.push_back(attention_seconds);
    normalizing.push_back(norm_seconds);
  }
  fmt::print(
      "{}: pass {:.1f} ms ({:.0f} GFLOP/s, {:.0f} tokens/s), products alone {:.1f} ms ({:.0f} GFLOP/s): "
      "{:.1f} %; a layer's attention {:.2f} ms, LayerNorm {:.2f} ms\n",
      c10::toString(dtype), 1e3 * median(pass), 1e-9 * products.flop() / median(pass),
      static_cast<double>(num_tokens) / median(pass), 1e3 * median(alone), 1e-9 * products.flop() / median(alone),
      100 * median(ratio), 1e3 * median(attending), 1e3 * median(normalizing));
}

}  // namespace
}  // namespace bertdist

int main(int argc, char** argv) {
  using namespace bertdist;
  if (argc < 2) return 2;
  const auto argument = [&](int index, std::int64_t otherwise) {
    return argc > index ? std::atol(argv[index]) : otherwise;
  };
  const std::int64_t length = argument(2, 26);
  const std::int64_t num_rows = std::max<std::int64_t>(1, argument(3, 2048) / length);
  at::set_num_threads(1);
  const c10::NoGradGuard no_grad;
  try {
    LoadReport report;
    const auto model = BertForSequenceClassification::from_pretrained(argv[1], {}, report);
    fmt::print("{} rows of {} tokens, one thread\n", num_rows, length);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      measure(model, length, num_rows, static_cast<int>(argument(4, 20)), dtype);
    }
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
