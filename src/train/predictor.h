#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.h"
#include "comm/communicator.h"
#include "model/bert.h"
#include "text/dialect.h"
#include "text/example.h"
#include "tokenizer/bert_tokenizer.h"
#include "train/prediction_writer.h"

namespace bertdist {

struct PredictOptions {
  std::string file;  // "-" is rank 0's standard input
  TableOptions table;
  ColumnOptions columns;
  std::vector<std::string> output_columns;  // input columns to echo
  std::string output_file;                  // empty: standard output
  std::size_t max_seq_length = 512;
  TruncationStrategy truncation_strategy = TruncationStrategy::longest_first;
  bool skip_bad_rows = false;
  std::int64_t max_samples = -1;      // -1: all
  at::ScalarType dtype = at::kFloat;  // of the matrix products: float32 or bfloat16
};

// Collective. Predicts every row of a file, in its order, with memory that does not grow with it: rank 0 reads and
// writes, all ranks compute. Input that comes slowly is answered as it comes, and may take longer than the
// communicator's timeout. Returns the number of rows predicted, on rank 0. Throws Error(data) for a bad row,
// Error(numeric) for logits that are not finite, Error(output).
std::int64_t predict(const BertForSequenceClassification& model, const BertTokenizer& tokenizer,
                     const PredictOptions& options, Communicator& communicator, const Log& log);

}  // namespace bertdist
