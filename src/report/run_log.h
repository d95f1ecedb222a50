#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace bertdist {

// The machine-readable record of a run: one JSON object a line, appended to <output_dir>/run_log.jsonl. For rank 0
// alone. A resumed run goes on in the same file; a line that a killed run left half-written is closed off, not joined.
class RunLog {
 public:
  // Creates the folder where it is missing. Throws Error(output).
  explicit RunLog(const std::filesystem::path& output_dir);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  // Adds "time" (UTC, ISO 8601) in front of the event's own fields. Numbers that are not finite become null. The line
  // is in the file, whole, when this returns. Throws Error(output), the disk being full for one.
  void append(const nlohmann::ordered_json& event);

 private:
  std::filesystem::path path_;
  int fd_;
};

}  // namespace bertdist
