#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace bertdist {

// Whose rows are in a tensor of [tokens, ...] or of [batch, ...].
struct ObservedRows {
  std::span<const std::int64_t> row_ids;  // [batch], in the tensor's order
  std::span<const std::int64_t> offsets;  // [batch + 1], in tokens; empty where all tensors are of [batch, ...]
};

// Sees what the modules of a model compute, as they compute it.
class ModuleObserver {
 public:
  virtual ~ModuleObserver() = default;

  // The module, by Hugging Face's name ("bert.encoder.layer.3.attention.self"), has computed `output`, which only the
  // module `used_by` reads next, but for residual connections.
  virtual void observe(std::string_view module, const at::Tensor& output, std::string_view used_by,
                       const ObservedRows& rows) = 0;
};

}  // namespace bertdist
