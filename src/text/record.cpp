#include "text/record.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/byte_vector.h"

namespace bertdist {

namespace {

constexpr bool is_newline(char c) {
  return c == '\n' || c == '\r';
}

std::int64_t count_lines(std::string_view text) {
  std::int64_t lines = std::count(text.begin(), text.end(), '\n');
  for (std::size_t at = text.find('\r'); at != std::string_view::npos; at = text.find('\r', at + 1)) {
    lines += at + 1 == text.size() || text[at + 1] != '\n' ? 1 : 0;
  }
  return lines;
}

// The first delimiter or newline, or the end of `text`.
std::size_t find_field_end(std::string_view text, char delimiter) {
  std::size_t at = 0;
  for (; at + byte_vector_size <= text.size(); at += byte_vector_size) {
    ByteVector c;
    std::memcpy(&c, text.data() + at, byte_vector_size);
    const std::uint32_t ends = bits_of((c == static_cast<signed char>(delimiter)) | (c == '\n') | (c == '\r'));
    if (ends != 0) return at + static_cast<std::size_t>(std::countr_zero(ends));
  }
  while (at < text.size() && text[at] != delimiter && !is_newline(text[at])) ++at;
  return at;
}

class DelimitedRecord {
 public:
  DelimitedRecord(std::string_view bytes, std::size_t begin, const Dialect& dialect, std::vector<Cell>* cells)
      : bytes_(bytes), at_(begin), dialect_(dialect), cells_(cells) {}

  RecordEnd read() {
    record_.blank = at_ == bytes_.size() || is_newline(bytes_[at_]);
    while (read_field()) {
      ++at_;  // the delimiter
      ++num_fields_;
    }
    if (cells_ != nullptr) cells_->resize(num_fields_ + 1);
    skip_line_end();
    record_.end = at_;
    return std::move(record_);
  }

 private:
  // Whether a delimiter, and so another field, follows.
  bool read_field() {
    start_cell();
    if (dialect_.quote && at_ < bytes_.size() && bytes_[at_] == *dialect_.quote) read_quoted();
    const std::string_view rest = bytes_.substr(at_);
    const std::size_t size = find_field_end(rest, dialect_.delimiter);
    append(rest.substr(0, size));
    at_ += size;
    return at_ < bytes_.size() && bytes_[at_] == dialect_.delimiter;
  }

  void read_quoted() {
    const char quote = *dialect_.quote;
    const std::int64_t opening_line = record_.num_lines;
    for (++at_;;) {
      const std::size_t close = bytes_.find(quote, at_);
      const std::string_view part = bytes_.substr(at_, close == std::string_view::npos ? close : close - at_);
      record_.num_lines += count_lines(part);
      append(part);
      if (close == std::string_view::npos) {
        record_.problem = fmt::format("the quote that opens field {} is never closed", num_fields_ + 1);
        record_.open_quote_line = opening_line;
        at_ = bytes_.size();
        return;
      }
      at_ = close + 1;
      if (at_ == bytes_.size() || bytes_[at_] != quote) break;
      append({&quote, 1});
      ++at_;
    }
    if (at_ < bytes_.size() && bytes_[at_] != dialect_.delimiter && !is_newline(bytes_[at_]) &&
        record_.problem.empty()) {
      record_.problem = fmt::format("text follows the closing quote of field {}", num_fields_ + 1);
    }
  }

  void skip_line_end() {
    if (at_ == bytes_.size()) return;
    ++record_.num_lines;
    record_.terminated = bytes_[at_] == '\n' || at_ + 1 < bytes_.size();
    at_ += bytes_[at_] == '\r' && at_ + 1 < bytes_.size() && bytes_[at_ + 1] == '\n' ? 2 : 1;
  }

  void start_cell() {
    if (cells_ == nullptr) return;
    if (cells_->size() <= num_fields_) cells_->emplace_back();
    (*cells_)[num_fields_].kind = Cell::Kind::text;
    (*cells_)[num_fields_].text.clear();
  }

  void append(std::string_view text) {
    if (cells_ == nullptr) return;
    if (dialect_.encoding == TextEncoding::latin1) {
      (*cells_)[num_fields_].text += latin1_to_utf8(text);
    } else {
      (*cells_)[num_fields_].text += text;
    }
  }

  std::string_view bytes_;
  std::size_t at_;
  const Dialect& dialect_;
  std::vector<Cell>* cells_;
  std::size_t num_fields_ = 0;  // complete ones
  RecordEnd record_;
};

RecordEnd read_line(std::string_view bytes, std::size_t begin) {
  const std::size_t newline = bytes.find('\n', begin);
  RecordEnd record;
  record.end = newline == std::string_view::npos ? bytes.size() : newline + 1;
  record.terminated = newline != std::string_view::npos;
  record.num_lines = record.terminated ? 1 : 0;
  record.blank = bytes.substr(begin, record.end - begin).find_first_not_of(" \t\r\n") == std::string_view::npos;
  return record;
}

}  // namespace

RecordEnd read_record(std::string_view bytes, std::size_t begin, const Dialect& dialect, std::vector<Cell>* cells) {
  if (dialect.format == TableFormat::jsonl) return read_line(bytes, begin);
  return DelimitedRecord(bytes, begin, dialect, cells).read();
}

std::string latin1_to_utf8(std::string_view text) {
  std::string utf8;
  utf8.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      utf8 += c;
    } else {
      utf8 += static_cast<char>(0xC0U | byte >> 6U);
      utf8 += static_cast<char>(0x80U | (byte & 0x3FU));
    }
  }
  return utf8;
}

}  // namespace bertdist
