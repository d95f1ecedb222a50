#pragma once

#include <exception>
#include <string>

#include "comm/communicator.h"

namespace bertdist {

// What a trial, or what several trials share, failed of.
struct Failure {
  int exit_code = 0;  // 0: of nothing
  std::string message;
};

Failure failure_of(const std::exception& exception);

// What is wrong with a trial, rather than with the job or its disk, does not end the sweep.
bool ends_the_sweep(const Failure& failure);

// Collective over `ranks`. What their common work failed of: where one rank alone failed, the others learn it here.
// They may still be in a collective of that work: this call then ends that one with an error on all of them, after
// which all come here.
Failure failure_of_group(Communicator& ranks, const Failure& mine);

}  // namespace bertdist
