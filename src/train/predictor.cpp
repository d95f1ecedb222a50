#include "train/predictor.h"

#include <fmt/core.h>

#include <numeric>
#include <optional>

#include "base/error.h"
#include "train/dataset.h"
#include "train/evaluator.h"

namespace bertdist {

namespace {

constexpr std::size_t kRowsPerBlock = 2048;

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

// Rank 0's side: the input's rows, and what of them is echoed.
class RowSource {
 public:
  RowSource(const PredictOptions& options, const BertTokenizer& tokenizer)
      : options_(options),
        tokenizer_(tokenizer),
        table_(options.file, options.table),
        examples_(table_, options.columns),
        rows_(table_, table_.whole()) {
    for (const std::string& column : options.output_columns) {
      echoed_columns_.push_back(table_.column_index(column, "output_columns"));
    }
  }

  struct Line {
    std::int64_t row;  // from 0
    std::vector<std::string> echoed;
  };

  TokenBlock next_block(std::vector<Line>& lines) {
    TokenBlock block;
    lines.clear();
    Row row;
    while (lines.size() < kRowsPerBlock && next_row_ != options_.max_samples && rows_.next(row)) {
      const std::int64_t number = next_row_++;
      const std::optional<Example> example = row.problem.empty() ? examples_.read(row) : std::nullopt;
      if (!example) {
        skip(row);
        continue;
      }
      num_invalid_utf8_ += tokenizer_.encode(example->text, example->text_pair, options_.max_seq_length,
                                             options_.truncation_strategy, encoding_);
      block.append(encoding_);
      Line& line = lines.emplace_back(Line{.row = number, .echoed = {}});
      for (const std::size_t column : echoed_columns_) line.echoed.push_back(row.cells[column].text);
    }
    return block;
  }

  std::int64_t num_skipped() const { return num_skipped_; }
  std::size_t num_invalid_utf8() const { return num_invalid_utf8_; }

 private:
  void skip(const Row& row) {
    if (!options_.skip_bad_rows) {
      throw Error(ExitCode::data, fmt::format("{}:{}: {}", table_.source().name(), row.line, row.problem),
                  "mend the row, or set on_bad_row = \"skip\" to leave such rows out");
    }
    ++num_skipped_;
  }

  const PredictOptions& options_;
  const BertTokenizer& tokenizer_;
  Table table_;
  ExampleReader examples_;
  RowReader rows_;
  std::vector<std::size_t> echoed_columns_;
  Encoding encoding_;
  std::int64_t next_row_ = 0;
  std::int64_t num_skipped_ = 0;
  std::size_t num_invalid_utf8_ = 0;
};

}  // namespace

std::int64_t predict(const BertForSequenceClassification& model, const BertTokenizer& tokenizer,
                     const PredictOptions& options, Communicator& communicator, const Log& log) {
  const std::int64_t num_labels = model.config().num_labels();
  std::optional<RowSource> source;
  std::optional<PredictionWriter> writer;
  if (communicator.rank() == 0) {
    source.emplace(options, tokenizer);
    writer.emplace(options.output_file, model.config().id2label, options.output_columns);
  }

  std::int64_t num_predicted = 0;
  while (true) {
    std::vector<RowSource::Line> lines;
    TokenBlock block = source ? source->next_block(lines) : TokenBlock();
    broadcast_block(communicator, block);
    if (block.lengths.empty()) break;
    const std::vector<float> logits = gather_logits(
        block.lengths, options.batch_size, num_labels,
        [&](std::span<const std::int64_t> rows) { return model.logits(to_bert_input(block.pack(rows)), std::nullopt); },
        communicator);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto row_logits =
          std::span(logits).subspan(i * static_cast<std::size_t>(num_labels), static_cast<std::size_t>(num_labels));
      writer->write(lines[i].row, row_logits, lines[i].echoed);
    }
    num_predicted += std::ssize(lines);
  }
  if (!writer) return 0;
  writer->finish();
  if (source->num_skipped() > 0) log.warn("bad rows left out: {}", source->num_skipped());
  if (source->num_invalid_utf8() > 0) {
    log.warn("invalid UTF-8 sequences read as U+FFFD: {}", source->num_invalid_utf8());
  }
  return num_predicted;
}

}  // namespace bertdist
