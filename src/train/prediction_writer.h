#pragma once

#include <fstream>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "text/row.h"

namespace bertdist {

// Predictions, one row at a time, as JSON objects a line or as CSV (RFC 4180), by the file's extension; without a file
// as JSON to standard output. A file appears when finish() is called, whole.
class PredictionWriter {
 public:
  // `output_file` may be empty. Throws Error(configuration) for an extension other than .csv and .jsonl, and for an
  // echoed column whose name is one of the writer's own; Error(output) where the file cannot be made.
  PredictionWriter(const std::string& output_file, std::vector<std::string> id2label,
                   std::vector<std::string> echoed_columns);
  ~PredictionWriter();

  // `echoed` holds the values of the echoed columns; in JSON they keep their type. Logits are [num_labels], finite.
  void write(std::int64_t row, std::span<const float> logits, std::span<const Cell> echoed);
  // Hands on what was written so far. Throws Error(output) where it could not be written.
  void flush();
  // Throws Error(output) where anything could not be written.
  void finish();

 private:
  void write_csv_header();
  void write_json(std::int64_t row, std::span<const float> logits, std::span<const Cell> echoed);
  void write_csv(std::int64_t row, std::span<const float> logits, std::span<const Cell> echoed);

  std::vector<std::string> id2label_;
  std::vector<std::string> echoed_columns_;
  std::string output_file_;
  bool is_csv_ = false;
  std::unique_ptr<AtomicFile> file_;
  std::unique_ptr<std::ofstream> stream_;
  std::ostream* out_;
};

}  // namespace bertdist
