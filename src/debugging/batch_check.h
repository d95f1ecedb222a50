#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "debugging/row_names.h"
#include "model/bert.h"

namespace bertdist {

// Checks what a model is about to be given: token_ids, token_type_ids, position_ids and labels are in their ranges, and
// cu_seqlens rises from 0 to the number of tokens in steps that the model has positions for. Throws Error(data) that
// names the first row at fault. `labels` is int64 [batch]; `where` goes in front of the message ("step 12").
void check_batch(const BertInput& input, const at::Tensor& labels, const BertConfig& config, const RowNames& rows,
                 std::string_view where);
// The labels alone, of rows whose tokens are not used any more.
void check_labels(std::span<const std::int64_t> row_ids, const at::Tensor& labels, const BertConfig& config,
                  const RowNames& rows, std::string_view where);

}  // namespace bertdist
