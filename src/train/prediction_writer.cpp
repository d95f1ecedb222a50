#include "train/prediction_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "metrics/classification_metrics.h"

namespace bertdist {

namespace {

std::size_t argmax(std::span<const float> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::string csv_field(const std::string& value) {
  if (value.find_first_of(",\"\r\n") == std::string::npos) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string json_string(const std::string& value) {
  return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Numbers, lists and objects of JSONL are kept as JSON text.
std::string json_value(const Cell& value) {
  switch (value.kind) {
    case Cell::Kind::text:
      return json_string(value.text);
    case Cell::Kind::integer:
    case Cell::Kind::other:
      return value.text;
    case Cell::Kind::missing:
      return "null";
  }
  throw Error(ExitCode::internal, "unknown Cell::Kind");
}

}  // namespace

PredictionWriter::PredictionWriter(const std::string& output_file, std::vector<std::string> id2label,
                                   std::vector<std::string> echoed_columns)
    : id2label_(std::move(id2label)),
      echoed_columns_(std::move(echoed_columns)),
      output_file_(output_file),
      out_(&std::cout) {
  if (output_file.empty()) return;
  const std::filesystem::path path(output_file);
  is_csv_ = path.extension() == ".csv";
  if (!is_csv_ && path.extension() != ".jsonl") {
    throw Error(ExitCode::configuration, fmt::format("output_file '{}' is neither .csv nor .jsonl", output_file),
                "the extension chooses the format");
  }
  file_ = std::make_unique<AtomicFile>(path);
  stream_ = std::make_unique<std::ofstream>(file_->temporary_path(), std::ios::binary);
  if (!*stream_) {
    throw Error(ExitCode::output, fmt::format("cannot create '{}'", output_file),
                "check that the folder exists and that you may write there");
  }
  out_ = stream_.get();
  if (is_csv_) write_csv_header();
}

PredictionWriter::~PredictionWriter() = default;

void PredictionWriter::write_csv_header() {
  std::vector<std::string> columns = {"row", "label"};
  for (const std::string& label : id2label_) columns.push_back("probability_" + label);
  for (const std::string& label : id2label_) columns.push_back("logit_" + label);
  for (const std::string& column : echoed_columns_) {
    if (std::find(columns.begin(), columns.end(), column) != columns.end()) {
      throw Error(ExitCode::configuration,
                  fmt::format("output_columns: '{}' has a column of that name of its own", output_file_),
                  fmt::format("name '{}' by its position from 0 instead, or write .jsonl", column));
    }
    columns.push_back(column);
  }
  std::string header;
  for (const std::string& column : columns) header += (header.empty() ? "" : ",") + csv_field(column);
  *out_ << header << "\r\n";
}

void PredictionWriter::write(std::int64_t row, std::span<const float> logits, std::span<const Cell> echoed) {
  is_csv_ ? write_csv(row, logits, echoed) : write_json(row, logits, echoed);
}

void PredictionWriter::write_json(std::int64_t row, std::span<const float> logits, std::span<const Cell> echoed) {
  const std::vector<double> probabilities = softmax(logits);
  // Written by hand since the order of the keys is part of the format, and nine digits are all that a float has.
  std::string line =
      fmt::format(R"({{"row": {}, "label": {}, "probabilities": {{)", row, json_string(id2label_[argmax(logits)]));
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    line += fmt::format("{}{}: {:.9g}", i == 0 ? "" : ", ", json_string(id2label_[i]), probabilities[i]);
  }
  line += R"(}, "logits": [)";
  for (std::size_t i = 0; i < logits.size(); ++i) line += fmt::format("{}{:.9g}", i == 0 ? "" : ", ", logits[i]);
  line += "]";
  for (std::size_t i = 0; i < echoed.size(); ++i) {
    line += fmt::format(", {}: {}", json_string(echoed_columns_[i]), json_value(echoed[i]));
  }
  *out_ << line << "}\n";
}

void PredictionWriter::write_csv(std::int64_t row, std::span<const float> logits, std::span<const Cell> echoed) {
  std::string line = fmt::format("{},{}", row, csv_field(id2label_[argmax(logits)]));
  for (const double probability : softmax(logits)) line += fmt::format(",{:.9g}", probability);
  for (const float logit : logits) line += fmt::format(",{:.9g}", logit);
  for (const Cell& value : echoed) line += "," + csv_field(value.text);
  *out_ << line << "\r\n";
}

void PredictionWriter::flush() {
  out_->flush();
  if (*out_) return;
  throw Error(ExitCode::output,
              file_ ? fmt::format("'{}' could not be written", output_file_) : "the predictions could not be written",
              "the disk or the quota is full, or the reader went away");
}

void PredictionWriter::finish() {
  flush();
  if (!file_) return;
  stream_->close();
  file_->commit();
}

}  // namespace bertdist
