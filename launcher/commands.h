#pragma once

#include "base/log.h"
#include "comm/communicator.h"
#include "config/config.h"

namespace bertdist {

// What every command works with. All ranks run the same command.
struct Job {
  const Config& config;
  Communicator& communicator;
  const Log& log;
  int num_threads;  // of this rank
};

void run_train(const Job& job);
void run_prepare(const Job& job);
void run_tokenize(const Job& job);
void run_evaluate(const Job& job);
void run_predict(const Job& job);

}  // namespace bertdist
