#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/table.h"

namespace bertdist {

// Where a record ends, and what was seen on the way.
struct RecordEnd {
  std::size_t end = 0;         // of the record with its line end
  std::int64_t num_lines = 0;  // line ends passed
  bool blank = false;          // an empty line
  std::string problem;
};

// Reads the record of `bytes` that begins at `begin`, up to the end of `bytes` at most. `cells` may be null where only
// the end is wanted; both uses are one function so that a scan for boundaries cannot disagree with the parser.
RecordEnd read_record(std::string_view bytes, std::size_t begin, const Dialect& dialect, std::vector<Cell>* cells);

std::string latin1_to_utf8(std::string_view text);

}  // namespace bertdist
