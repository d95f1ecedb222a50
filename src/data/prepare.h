#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/log.h"
#include "comm/communicator.h"
#include "data/label_map.h"
#include "data/tokenized_block.h"
#include "text/example.h"
#include "text/table.h"
#include "tokenizer/bert_tokenizer.h"

namespace bertdist {

struct PrepareOptions {
  TableOptions table;
  ColumnOptions columns;  // without a label_column the rows have no labels
  // The classes, for example those of the training file or of the model. Unset: the distinct values of label_column.
  std::optional<LabelMap> labels;
  std::size_t max_seq_length = 512;
  TruncationStrategy truncation_strategy = TruncationStrategy::longest_first;
  BadRowPolicy on_bad_row = BadRowPolicy::fail;
  // Only the first good rows are tokenised. Labels that are not given still come from the whole file.
  std::optional<std::int64_t> max_rows;
  std::filesystem::path token_cache_dir;
  int num_threads = 1;  // of this rank; decides nothing but the time it takes
};

// Tokenises a text file into a cache in token_cache_dir and returns its path, or finds the one that is there: its name
// is a hash of the text, the tokenizer and the options. Collective; all ranks tokenise disjoint parts and rank 0
// writes, so the file's bytes depend neither on the number of ranks nor of threads. Where another job is making the
// same cache it waits for it. May take longer than the communicator's timeout. Every Error is thrown on all ranks:
// Error(data) for what is wrong in the text (file:line: reason), for an unknown label and a file without rows,
// Error(output) for what cannot be written, Error(communication) where a rank has another tokenizer or options, or
// tokenises text that is not what rank 0 scanned.
std::filesystem::path prepare_token_cache(const std::filesystem::path& source, const PrepareOptions& options,
                                          const BertTokenizer& tokenizer, Communicator& communicator, const Log& log);

}  // namespace bertdist
