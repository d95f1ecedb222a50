#include "text/row_stream.h"

#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "text/record.h"

namespace bertdist {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxRecordSize = std::size_t{16} << 20;

// Whether more bytes could still make one of these a mark that TableSchema knows.
bool may_become_a_mark(std::string_view bytes) {
  const auto begins = [&](std::string_view mark) { return bytes.size() < mark.size() && mark.starts_with(bytes); };
  return begins(kByteOrderMark) || begins("\xFF\xFE") || begins("\xFE\xFF") || begins("\x1F\x8B");
}

}  // namespace

RowStream::RowStream(const std::filesystem::path& path, const TableOptions& options)
    : file_(path), name_(text_name(path)), dialect_(resolve_dialect(options, path)) {}

bool RowStream::wait(std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (!(read_schema() && holds_row())) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (!read_more(std::max(left, std::chrono::milliseconds(0)))) return false;
  }
  return true;
}

// Whether the schema is known.
bool RowStream::read_schema() {
  if (schema_) return true;
  if (may_become_a_mark(buffer_) && !ended_) return false;
  require_plain_text(buffer_, name_);  // the bytes of something else may hold no end of a record
  if (buffer_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
  if (!holds_row()) return false;
  schema_.emplace(buffer_, dialect_, name_);
  at_ = schema_->data_begin();
  line_ = schema_->first_line();
  return true;
}

bool RowStream::next(Row& row) {
  while (at_ < buffer_.size()) {
    if (read_row(*schema_, buffer_, at_, line_, row)) return true;
  }
  return false;
}

// Whether a whole record that is not empty begins at at_, or the input has ended.
bool RowStream::holds_row() {
  std::size_t at = at_;
  std::int64_t line = line_;
  while (at < buffer_.size()) {
    const RecordEnd record = read_record(buffer_, at, dialect_, nullptr);
    const bool complete = record.terminated || ended_;
    if (record.open_quote_line && (ended_ || buffer_.size() - at > kMaxRecordSize)) {
      throw open_quote_error(name_, line + *record.open_quote_line);
    }
    if (!complete && buffer_.size() - at > kMaxRecordSize) {
      throw Error(ExitCode::data, fmt::format("{}:{}: a record of more than {} MiB", name_, line, kMaxRecordSize >> 20),
                  "check format and the file's line ends");
    }
    if (!complete) return false;
    if (!record.blank) return true;
    at = record.end;
    line += record.num_lines;
  }
  return ended_;
}

bool RowStream::read_more(std::chrono::milliseconds patience) {
  pollfd ready{file_.get(), POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return false;
  // What the caller has had goes first, so that the buffer holds little more than one record.
  if (schema_) buffer_.erase(0, std::exchange(at_, 0));
  std::array<char, 1 << 16> block;
  const std::size_t count = file_.read(block);
  buffer_.append(block.data(), count);
  ended_ = count == 0;
  return true;
}

}  // namespace bertdist
