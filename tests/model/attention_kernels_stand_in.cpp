// ATen's attention kernels for CUDA devices, as dense products on the CPU: what the operators are given is checked as
// the real ones check it, and what they give back goes through autograd's own formulas for them. No dropout.
#include "model/attention_kernels_stand_in.h"

#include <ATen/ATen.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include <string_view>
#include <utility>

namespace bertdist {

namespace {

AttentionCall last;

constexpr std::int64_t kHeadUnitBytes = 16;  // as the real kernels ask for

// The arguments of a call by their names: the order of the trailing ones differs between versions of torch.
class Arguments {
 public:
  Arguments(const c10::OperatorHandle& op, torch::jit::Stack& stack) : schema_(op.schema()) {
    values_ = torch::jit::pop(stack, schema_.arguments().size());
  }
  at::Tensor tensor(std::string_view name) const { return value(name).toTensor(); }
  std::int64_t integer(std::string_view name) const { return value(name).toInt(); }
  double number(std::string_view name) const { return value(name).toDouble(); }

 private:
  const c10::IValue& value(std::string_view name) const {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (schema_.arguments()[i].name() == name) return values_[i];
    }
    TORCH_CHECK(false, "no argument ", name);
  }

  const c10::FunctionSchema& schema_;
  std::vector<c10::IValue> values_;
};

at::Tensor heads_first(const at::Tensor& x) {
  return x.transpose(0, 1);
}

// One sequence: [heads, queries, head_dim] and [heads, keys, head_dim].
struct Dense {
  at::Tensor query, key, value, probs;
  double scale;
  Dense(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double s)
      : query(heads_first(q)), key(heads_first(k)), value(heads_first(v)), scale(s) {
    probs = at::softmax(at::matmul(query * scale, key.transpose(1, 2)), -1);
  }
  at::Tensor context() const { return heads_first(at::matmul(probs, value)); }
  std::tuple<at::Tensor, at::Tensor, at::Tensor> gradients(const at::Tensor& d_context) const {
    const at::Tensor d_output = heads_first(d_context);
    const at::Tensor d_probs = at::matmul(d_output, value.transpose(1, 2));
    const at::Tensor d_scores = probs * (d_probs - (d_probs * probs).sum(-1, true));
    return {heads_first(at::matmul(d_scores, key) * scale),
            heads_first(at::matmul(d_scores.transpose(1, 2), query) * scale),
            heads_first(at::matmul(probs.transpose(1, 2), d_output))};
  }
};

// Calls `use(sequence, of queries, of keys)` with the tokens of each sequence.
template <typename Use>
void for_each_sequence(const at::Tensor& queries, const at::Tensor& keys, Use use) {
  TORCH_CHECK(queries.scalar_type() == at::kInt && keys.scalar_type() == at::kInt && queries.sizes() == keys.sizes());
  for (std::int64_t i = 0; i + 1 < queries.size(0); ++i) {
    const auto at = [&](const at::Tensor& cu, std::int64_t j) { return cu[j].item<std::int64_t>(); };
    use(std::pair(at(queries, i), at(queries, i + 1)), std::pair(at(keys, i), at(keys, i + 1)));
  }
}

at::Tensor part(const at::Tensor& x, std::pair<std::int64_t, std::int64_t> range) {
  return x.slice(0, range.first, range.second);
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const at::Tensor& queries,
                  const at::Tensor& keys, double scale) {
  std::vector<at::Tensor> contexts;
  for_each_sequence(queries, keys, [&](auto q, auto k) {
    TORCH_CHECK(q.second - q.first <= last.max_queries && k.second - k.first <= last.max_keys);
    contexts.push_back(Dense(part(query, q), part(key, k), part(value, k), scale).context());
  });
  return at::cat(contexts);
}

std::vector<at::Tensor> attend_backward(const at::Tensor& d_context, const at::Tensor& query, const at::Tensor& key,
                                        const at::Tensor& value, const at::Tensor& queries, const at::Tensor& keys,
                                        double scale) {
  std::vector<at::Tensor> d_query, d_key, d_value;
  for_each_sequence(queries, keys, [&](auto q, auto k) {
    const auto [dq, dk, dv] = Dense(part(query, q), part(key, k), part(value, k), scale).gradients(part(d_context, q));
    d_query.push_back(dq);
    d_key.push_back(dk);
    d_value.push_back(dv);
  });
  return {at::cat(d_query), at::cat(d_key), at::cat(d_value)};
}

void note(AttentionKernel kernel, double p, std::int64_t max_queries, std::int64_t max_keys) {
  last = {kernel, p, at::globalContext().defaultGenerator(at::kCPU).current_seed(), max_queries, max_keys};
}

void flash_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments given(op, *stack);
  note(AttentionKernel::flash, given.number("dropout_p"), given.integer("max_q"), given.integer("max_k"));
  const at::Tensor query = given.tensor("query");
  TORCH_CHECK(query.dim() == 3 && query.size(2) * query.element_size() % kHeadUnitBytes == 0);
  const at::Tensor none = at::empty({0});
  torch::jit::push(*stack,
                   attend(query, given.tensor("key"), given.tensor("value"), given.tensor("cum_seq_q"),
                          given.tensor("cum_seq_k"), given.number("scale")),
                   none, none, none, none);
}

void flash_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments given(op, *stack);
  for (const at::Tensor& gradient :
       attend_backward(given.tensor("grad_out"), given.tensor("query"), given.tensor("key"), given.tensor("value"),
                       given.tensor("cum_seq_q"), given.tensor("cum_seq_k"), given.number("scale"))) {
    torch::jit::push(*stack, gradient);
  }
}

void efficient_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments given(op, *stack);
  note(AttentionKernel::memory_efficient, given.number("dropout_p"), given.integer("max_seqlen_q"),
       given.integer("max_seqlen_k"));
  const at::Tensor query = given.tensor("query");
  TORCH_CHECK(query.dim() == 4 && query.size(0) == 1 && query.size(3) * query.element_size() % kHeadUnitBytes == 0);
  const auto tokens = [&](std::string_view name) { return given.tensor(name).squeeze(0); };
  const at::Tensor none = at::empty({0});
  torch::jit::push(*stack,
                   attend(tokens("query"), tokens("key"), tokens("value"), given.tensor("cu_seqlens_q"),
                          given.tensor("cu_seqlens_k"), given.number("scale"))
                       .unsqueeze(0),
                   none, none, none, last.max_queries, last.max_keys);
}

void efficient_backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Arguments given(op, *stack);
  const auto tokens = [&](std::string_view name) { return given.tensor(name).squeeze(0); };
  for (const at::Tensor& gradient :
       attend_backward(tokens("grad_out_"), tokens("query"), tokens("key"), tokens("value"),
                       given.tensor("cu_seqlens_q"), given.tensor("cu_seqlens_k"), given.number("scale"))) {
    torch::jit::push(*stack, gradient.unsqueeze(0));
  }
  torch::jit::push(*stack, at::Tensor());
}

TORCH_LIBRARY_IMPL(aten, CPU, library) {
  library.impl("_flash_attention_forward", torch::CppFunction::makeFromBoxedFunction<&flash_forward>());
  library.impl("_flash_attention_backward", torch::CppFunction::makeFromBoxedFunction<&flash_backward>());
  library.impl("_efficient_attention_forward", torch::CppFunction::makeFromBoxedFunction<&efficient_forward>());
  library.impl("_efficient_attention_backward", torch::CppFunction::makeFromBoxedFunction<&efficient_backward>());
}

}  // namespace

const AttentionCall& last_attention_call() {
  return last;
}

}  // namespace bertdist
