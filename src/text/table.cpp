#include "text/table.h"

#include "base/checksum.h"
#include "text/record.h"

namespace bertdist {

Table::Table(const std::filesystem::path& path, const TableOptions& options)
    : source_(path), schema_(source_.bytes(), resolve_dialect(options, path), source_.name()) {}

bool Table::holds(const TextBlock& block) const {
  const std::string_view bytes = source_.bytes();
  return block.end <= bytes.size() && checksum(bytes.substr(block.begin, block.end - block.begin)) == block.checksum;
}

bool RowReader::next(Row& row) {
  const std::string_view bytes = table_->source().bytes().substr(0, end_);
  while (at_ < end_) {
    if (read_row(table_->schema(), bytes, at_, line_, row)) return true;
  }
  return false;
}

bool BlockScanner::advance(std::size_t num_bytes, std::vector<TextBlock>& blocks) {
  const std::string_view bytes = table_->source().bytes();
  const std::size_t begin = open_.end;
  while (open_.end < bytes.size() && open_.end - begin < num_bytes) {
    const RecordEnd record = read_record(bytes, open_.end, table_->schema().dialect(), nullptr);
    if (record.open_quote_line) throw open_quote_error(table_->schema().name(), line_ + *record.open_quote_line);
    open_.end = record.end;
    line_ += record.num_lines;
    if (open_.end - open_.begin < block_size_ && open_.end < bytes.size()) continue;
    open_.checksum = checksum(bytes.substr(open_.begin, open_.end - open_.begin));
    blocks.push_back(open_);
    open_ = {.begin = open_.end, .end = open_.end, .first_line = line_};
  }
  table_->source().release(begin, open_.end);
  return open_.end < bytes.size();
}

}  // namespace bertdist
