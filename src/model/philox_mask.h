#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "base/philox.h"

namespace bertdist {

// Which elements keyed_dropout keeps, by ATen's operators on 64-bit integers, so on any device that has them: some
// hundred kernels, of which none waits for the host. Rows and elements as there; `row_keys` are the rows' keys. An
// element is kept where its word is at least `drop_below`. bool [offsets.back()]
at::Tensor philox_keep_mask(std::span<const PhiloxKey> row_keys, std::span<const std::int64_t> offsets,
                            std::uint32_t site, std::uint32_t drop_below, at::Device device);

}  // namespace bertdist
