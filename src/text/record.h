#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/dialect.h"
#include "text/row.h"

namespace bertdist {

// Where a record ends, and what was seen on the way.
struct RecordEnd {
  std::size_t end = 0;         // of the record with its line end
  std::int64_t num_lines = 0;  // line ends passed
  bool blank = false;          // an empty line
  bool terminated = false;     // by a line end; nothing that may follow the bytes could change the record
  std::string problem;
  std::optional<std::int64_t> open_quote_line;  // from 0, within the record: where a quote opens that nothing closes
};

// Reads the record of `bytes` that begins at `begin`, up to the end of `bytes` at most. `cells` may be null where only
// the end is wanted; both uses are one function so that a scan for boundaries cannot disagree with the parser.
RecordEnd read_record(std::string_view bytes, std::size_t begin, const Dialect& dialect, std::vector<Cell>* cells);

std::string latin1_to_utf8(std::string_view text);

}  // namespace bertdist
