#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bertdist {

// One value of a row. CSV and TSV know only text; in JSONL a value has a type, and a key may be missing (or null).
struct Cell {
  enum class Kind { text, integer, other, missing };
  Kind kind = Kind::missing;
  std::string text;  // UTF-8 as it stands in the file: bytes that are not UTF-8 pass through
};

struct Row {
  std::int64_t line = 0;    // from 1, where the record starts
  std::vector<Cell> cells;  // [columns], unless there is a problem
  std::string problem;      // what is wrong with the record; empty for a good one
};

}  // namespace bertdist
