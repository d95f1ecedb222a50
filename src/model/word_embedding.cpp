#include "model/word_embedding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/custom_function.h>

namespace bertdist {

namespace {

class LookUp : public torch::autograd::Function<LookUp> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& table, const at::Tensor& ids,
                            std::int64_t padding_id) {
    context->save_for_backward({table, ids});
    context->saved_data["padding_id"] = padding_id;
    return at::embedding(table, ids, padding_id);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d_outputs) {
    const auto saved = context->get_saved_variables();
    at::Tensor table = saved[0];
    const at::Tensor& ids = saved[1];
    const std::int64_t padding_id = context->saved_data["padding_id"].toInt();
    if (!table.grad().defined()) {
      return {at::embedding_dense_backward(d_outputs[0], ids, table.size(0), padding_id, false), {}, {}};
    }
    table.mutable_grad().index_add_(0, ids, d_outputs[0].masked_fill((ids == padding_id).unsqueeze(1), 0));
    return {{}, {}, {}};
  }
};

}  // namespace

at::Tensor word_embedding(const at::Tensor& table, const at::Tensor& ids, std::int64_t padding_id) {
  return table.requires_grad() ? LookUp::apply(table, ids, padding_id) : at::embedding(table, ids, padding_id);
}

}  // namespace bertdist
