#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "comm/communicator.h"

namespace bertdist {

enum class CollectiveCall : std::uint32_t {
  none,
  all_reduce,
  broadcast,
  gather_to_root,
  all_gather,
  barrier,
  split,
  connect,
  synchronize
};

// Text of a fixed size, which can lie in shared memory and travel in a message; longer text is cut.
struct ShortText {
  static constexpr std::size_t kCapacity = 48;
  char bytes[kCapacity] = {};  // ends with a zero

  ShortText() = default;
  explicit ShortText(std::string_view text);
  std::string_view view() const { return bytes; }
};

// One collective call as every rank of it must make it.
struct CollectiveSite {
  CollectiveCall call = CollectiveCall::none;
  DType dtype = DType::float32;
  ReduceOp op = ReduceOp::sum;
  std::int32_t root = -1;
  std::uint64_t count = 0;  // elements of an all_reduce, otherwise bytes
  Memory memory = Memory::host;
  ShortText what;

  bool is_uneven() const { return call == CollectiveCall::gather_to_root || call == CollectiveCall::all_gather; }
  std::uint64_t hash() const;     // of all but the count
  std::string to_string() const;  // "all_reduce of gradients (148610 float32)"
};

// Where a rank is. It has no pointers: ranks read each other's in shared memory, or get it in a message.
struct RankStatus {
  std::int64_t step = 0;           // 0: outside of training
  std::uint64_t communicator = 0;  // of `site`; 0: no collective was entered yet
  std::uint64_t sequence = 0;      // counts the collectives of `communicator`
  CollectiveSite site;             // the collective that is under way, or else the last one
  ShortText activity;              // the work that is under way; empty where none was announced since `site`
  std::uint32_t in_collective = 0;
  std::uint32_t leaving = 0;  // the rank ends the job or its own part of it: its end is no surprise

  bool is_in(std::uint64_t communicator_id, std::uint64_t sequence_number) const {
    return in_collective != 0 && communicator == communicator_id && sequence == sequence_number;
  }
  std::string to_string() const;  // "step 7, the work after broadcast of parameters (3 bytes)"
};

}  // namespace bertdist
