#pragma once

#include "job.h"

namespace bertdist {

// Each is called by every rank.

// In bertdist, without torch:
void run_prepare(const Job& job);
void run_tokenize(const Job& job);

// For one process. Ends by becoming sbatch.
void submit_sweep(const Job& job, const SweepRequest& request, const std::vector<Trial>& trials);
// Not collective: `bertdist sweep plan`, `status`, `best` and `export`.
void report_sweep(const Request& request);

// In bertdist-torch:
void run_train(const Job& job);
void run_evaluate(const Job& job);
void run_predict(const Job& job);
// For one process: computes a step of an earlier training again.
void run_replay(const Job& job, const ReplayRequest& request);
void run_sweep(const Job& job, const SweepRequest& request, const std::vector<Trial>& trials);

}  // namespace bertdist
