#include "train/skipped_rows.h"

#include <fmt/core.h>

#include <system_error>

#include "base/error.h"

namespace bertdist {

SkippedRows::SkippedRows(const std::string& output_file, const Log& log)
    : log_(log), list_(output_file.empty() ? "" : output_file + ".skipped.txt") {}

void SkippedRows::add(const std::string& problem) {
  ++count_;
  list_.empty() ? log_.warn("left out: {}", problem) : write(problem);
}

void SkippedRows::write(const std::string& problem) {
  if (!file_) {
    file_.emplace(list_);
    stream_.open(file_->temporary_path());
  }
  stream_ << problem << '\n';
  if (!stream_) throw Error(ExitCode::output, fmt::format("'{}' could not be written", list_.string()));
}

void SkippedRows::finish() {
  if (!file_) {
    std::error_code ignored;
    if (!list_.empty()) std::filesystem::remove(list_, ignored);
    if (count_ > 0) log_.warn("bad rows left out: {}", count_);
    return;
  }
  stream_.close();
  if (!stream_) throw Error(ExitCode::output, fmt::format("'{}' could not be written", list_.string()));
  file_->commit();
  log_.warn("bad rows left out: {}; listed in {}", count_, list_.string());
}

}  // namespace bertdist
