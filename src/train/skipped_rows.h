#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "base/atomic_file.h"
#include "base/log.h"

namespace bertdist {

// The bad rows that a prediction leaves out: listed in OUTPUT_FILE.skipped.txt, or, where the predictions go to
// standard output, in the log as they come.
class SkippedRows {
 public:
  // `output_file` may be empty. The log must outlive this.
  SkippedRows(const std::string& output_file, const Log& log);

  // `problem` names the row and what is wrong with it. Throws Error(output).
  void add(const std::string& problem);
  // Tells the user how many there were, and puts their list beside the predictions or, where there were none, takes an
  // earlier one away. Throws Error(output).
  void finish();

 private:
  void write(const std::string& problem);

  const Log& log_;
  std::filesystem::path list_;  // empty: none
  std::optional<AtomicFile> file_;
  std::ofstream stream_;
  std::int64_t count_ = 0;
};

}  // namespace bertdist
