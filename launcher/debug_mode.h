#pragma once

#include <memory>
#include <string>

#include "debugging/row_names.h"
#include "debugging/source_rows.h"
#include "job.h"
#include "pretrained/bert_config.h"
#include "splits.h"

namespace bertdist {

// Makes kernels deterministic. Before any is run; throws Error(configuration) under mpirun with more ranks than one.
void begin_debug_mode(const Job& job);

SourceRows source_rows(const Config& config, const std::string& file);
// Of the rows of a file and its token cache.
RowNames row_names(const Config& config, const std::string& file, const std::shared_ptr<const TokenCache>& cache);

// Whatever a model will be given of these splits is in its ranges. Throws Error(data) that names the row.
void check_rows(const Config& config, const TokenCaches& caches, const Splits& splits, const BertConfig& model);

// With check_gradients: compares those of a narrow copy of the model with finite differences. Throws Error(gradient).
void check_gradients(const Job& job, const BertConfig& model);

// Instead of a training, with overfit_batches. Throws Error(overfit) where the loss stays high.
void run_overfit(const Job& job);

}  // namespace bertdist
