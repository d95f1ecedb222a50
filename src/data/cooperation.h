#pragma once

#include <functional>
#include <string_view>

#include "comm/communicator.h"

namespace bertdist {

// Collective. Root calls `step` until it returns true, and the others learn after each call that root still lives: a
// step must be much shorter than the communicator's timeout, the whole may be longer. An Error of root's is thrown on
// every rank.
void root_in_steps(Communicator& communicator, std::string_view what, const std::function<bool()>& step);

// Collective. Every rank runs `work`; the Error of the lowest rank that failed is thrown on all.
void on_all_ranks(Communicator& communicator, std::string_view what, const std::function<void()>& work);

}  // namespace bertdist
