#include "train/predictor.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "base/error.h"
#include "data/cooperation.h"
#include "text/row_stream.h"
#include "train/dataset.h"
#include "train/divergence.h"
#include "train/evaluator.h"
#include "train/frozen_pass.h"
#include "train/skipped_rows.h"

namespace bertdist {

namespace {

// Rows that are computed together, and so at most before output appears.
constexpr std::size_t kRowsPerBlock = 512;
// How long rank 0 waits for input before it tells the others that it still lives.
constexpr std::chrono::milliseconds kStep{200};
// How long a row waits for others to be computed with, where the input comes slowly.
constexpr std::chrono::milliseconds kLinger{100};

// Token ids of some rows, in a shape that travels.
struct TokenBlock {
  std::vector<std::int32_t> lengths;         // [rows]
  std::vector<std::int64_t> offsets;         // [rows]
  std::vector<std::int32_t> token_ids;       // [tokens]
  std::vector<std::uint8_t> token_type_ids;  // [tokens]

  void append(const Encoding& encoding) {
    offsets.push_back(std::ssize(token_ids));
    lengths.push_back(static_cast<std::int32_t>(encoding.input_ids.size()));
    token_ids.insert(token_ids.end(), encoding.input_ids.begin(), encoding.input_ids.end());
    token_type_ids.insert(token_type_ids.end(), encoding.token_type_ids.begin(), encoding.token_type_ids.end());
  }

  PackedBatch pack(std::span<const std::int64_t> rows) const {
    PackedBatch batch;
    batch.cu_seqlens.push_back(0);
    for (const std::int64_t row : rows) {
      const std::int64_t length = lengths[static_cast<std::size_t>(row)];
      const std::int64_t offset = offsets[static_cast<std::size_t>(row)];
      batch.token_ids.insert(batch.token_ids.end(), token_ids.begin() + offset, token_ids.begin() + offset + length);
      batch.token_type_ids.insert(batch.token_type_ids.end(), token_type_ids.begin() + offset,
                                  token_type_ids.begin() + offset + length);
      for (std::int64_t position = 0; position < length; ++position) batch.position_ids.push_back(position);
      batch.cu_seqlens.push_back(static_cast<std::int32_t>(batch.token_ids.size()));
      batch.row_ids.push_back(row);
    }
    return batch;
  }
};

template <typename T>
void broadcast_vector(Communicator& communicator, std::vector<T>& values) {
  auto size = static_cast<std::int64_t>(values.size());
  communicator.broadcast(std::as_writable_bytes(std::span(&size, 1)), 0, "rows to predict");
  values.resize(static_cast<std::size_t>(size));
  communicator.broadcast(std::as_writable_bytes(std::span(values)), 0, "rows to predict");
}

void broadcast_block(Communicator& communicator, TokenBlock& block) {
  broadcast_vector(communicator, block.lengths);
  broadcast_vector(communicator, block.offsets);
  broadcast_vector(communicator, block.token_ids);
  broadcast_vector(communicator, block.token_type_ids);
}

using SkipRow = std::function<void(const std::string& problem)>;

// Rank 0's side: the input's rows, and what of them is echoed.
class RowSource {
 public:
  // A bad row is handed to `skip`, or throws where that is empty.
  RowSource(const PredictOptions& options, const BertTokenizer& tokenizer, SkipRow skip)
      : options_(options), tokenizer_(tokenizer), skip_(std::move(skip)), rows_(options.file, options.table) {}

  struct Line {
    std::int64_t row;   // from 0
    std::int64_t line;  // of the input, from 1
    std::vector<Cell> echoed;
  };

  // One of root_in_steps' steps: takes rows until the block is full, no more of them come, or kStep is over. Returns
  // whether the block is ready; it is empty at the end of the input.
  bool fill(TokenBlock& block, std::vector<Line>& lines) {
    auto deadline = Clock::now() + kStep;
    while (lines.size() < kRowsPerBlock && next_row_ != options_.max_samples) {
      const auto patience = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (!rows_.wait(std::max(patience, std::chrono::milliseconds(0)))) return !lines.empty();
      if (!examples_) find_columns();
      if (!rows_.next(row_)) return true;
      const std::int64_t number = next_row_++;
      if (!encode()) continue;
      if (lines.empty()) deadline = Clock::now() + kLinger;
      block.append(encoding_);
      Line& line = lines.emplace_back(Line{.row = number, .line = row_.line, .echoed = {}});
      for (const std::size_t column : echoed_columns_) line.echoed.push_back(row_.cells[column]);
    }
    return true;
  }

  std::size_t num_invalid_utf8() const { return num_invalid_utf8_; }

 private:
  using Clock = std::chrono::steady_clock;

  void find_columns() {
    examples_.emplace(rows_.schema(), options_.columns);
    for (const std::string& column : options_.output_columns) {
      echoed_columns_.push_back(rows_.schema().column_index(column, "output_columns"));
    }
  }

  // Whether encoding_ holds row_'s tokens; false for a bad row that is left out.
  bool encode() {
    if (const std::optional<Example> example = examples_->read(row_)) {
      try {
        num_invalid_utf8_ += tokenizer_.encode(example->text, example->text_pair, options_.max_seq_length,
                                               options_.truncation_strategy, encoding_);
        return true;
      } catch (const Error& error) {
        // A text that cannot be truncated is the row's fault; anything else is not.
        if (error.code() != ExitCode::data) throw;
        row_.problem = error.what();
      }
    }
    const std::string problem = fmt::format("{}:{}: {}", rows_.schema().name(), row_.line, row_.problem);
    if (!skip_) {
      throw Error(ExitCode::data, problem, "mend the row, or set on_bad_row = \"skip\" to leave such rows out");
    }
    skip_(problem);
    return false;
  }

  const PredictOptions& options_;
  const BertTokenizer& tokenizer_;
  SkipRow skip_;
  RowStream rows_;
  std::optional<ExampleReader> examples_;
  std::vector<std::size_t> echoed_columns_;
  Row row_;
  Encoding encoding_;
  std::int64_t next_row_ = 0;
  std::size_t num_invalid_utf8_ = 0;
};

}  // namespace

std::int64_t predict(const BertForSequenceClassification& model, const BertTokenizer& tokenizer,
                     const PredictOptions& options, Communicator& communicator, const Log& log) {
  const std::int64_t num_labels = model.config().num_labels();
  std::optional<RowSource> source;
  std::optional<PredictionWriter> writer;
  std::optional<SkippedRows> skipped;
  if (communicator.rank() == 0) {
    SkipRow skip;
    if (options.skip_bad_rows) skip = [&](const std::string& problem) { skipped->add(problem); };
    source.emplace(options, tokenizer, skip);
    skipped.emplace(options.output_file, log);
    writer.emplace(options.output_file, model.config().id2label, options.output_columns);
  }

  const FrozenEncoder encoder(model, model.config().num_hidden_layers, options.dtype);
  std::int64_t num_predicted = 0;
  while (true) {
    TokenBlock block;
    std::vector<RowSource::Line> lines;
    root_in_steps(communicator, "rows to predict", [&] { return source->fill(block, lines); });
    broadcast_block(communicator, block);
    if (block.lengths.empty()) break;
    const std::vector<float> logits = gather_logits(
        block.lengths, forward_batch(model.is_on_device()), num_labels,
        [&](std::span<const std::int64_t> rows) {
          const BertInput input = to_bert_input(block.pack(rows));
          return model.head_logits(encoder.forward(input), input.row_ids, std::nullopt);
        },
        communicator);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto row_logits =
          std::span(logits).subspan(i * static_cast<std::size_t>(num_labels), static_cast<std::size_t>(num_labels));
      require_finite(row_logits, lines[i].row, text_name(options.file), lines[i].line);
      writer->write(lines[i].row, row_logits, lines[i].echoed);
    }
    if (writer) writer->flush();
    num_predicted += std::ssize(lines);
  }
  if (!writer) return 0;
  writer->finish();
  skipped->finish();
  if (source->num_invalid_utf8() > 0) {
    log.warn("invalid UTF-8 sequences read as U+FFFD: {}", source->num_invalid_utf8());
  }
  return num_predicted;
}

}  // namespace bertdist
