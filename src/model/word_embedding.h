#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace bertdist {

// Rows of a table [entries, hidden] at ids int64 [tokens]: at::embedding, but for its gradient. Where table.grad() is
// there, backward adds to the rows that occur, and touches no others: a gradient of its own, as autograd would make it,
// is as large as the table, most of it zeros, and is written, read and added at each step. Rows at `padding_id` get
// none.
at::Tensor word_embedding(const at::Tensor& table, const at::Tensor& ids, std::int64_t padding_id);

}  // namespace bertdist
