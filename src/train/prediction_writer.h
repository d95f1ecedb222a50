#pragma once

#include <fstream>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"

namespace bertdist {

// Predictions, one row at a time, as JSON objects a line or as CSV (RFC 4180), by the file's extension; without a file
// as JSON to standard output. A file appears when finish() is called, whole.
class PredictionWriter {
 public:
  // `output_file` may be empty. Throws Error(configuration) for an extension other than .csv and .jsonl.
  PredictionWriter(const std::string& output_file, std::vector<std::string> id2label,
                   std::vector<std::string> echoed_columns);
  ~PredictionWriter();

  // `echoed` holds the values of the echoed columns; logits are [num_labels].
  void write(std::int64_t row, std::span<const float> logits, std::span<const std::string> echoed);
  // Throws Error(output) where anything could not be written.
  void finish();

 private:
  void write_json(std::int64_t row, std::span<const float> logits, std::span<const std::string> echoed);
  void write_csv(std::int64_t row, std::span<const float> logits, std::span<const std::string> echoed);

  std::vector<std::string> id2label_;
  std::vector<std::string> echoed_columns_;
  bool is_csv_ = false;
  std::unique_ptr<AtomicFile> file_;
  std::unique_ptr<std::ofstream> stream_;
  std::ostream* out_;
};

}  // namespace bertdist
