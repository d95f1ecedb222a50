// Reads rows as JSON lines, {"text": ..., "pair": ...} (pair may be missing; bytes that are not UTF-8 as
// {"bytes": [...]}), and prints for each {"ids": [...], "type_ids": [...], "replaced": n} or {"error": "..."}:
//   tokenize_lines FOLDER MAX_SEQ_LENGTH longest_first|only_first < rows
// A row may bring its own "max_seq_length" and "strategy".
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "tokenizer/bert_tokenizer.h"

namespace {

using namespace bertdist;
using Json = nlohmann::json;

std::string to_bytes(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  std::string bytes;
  for (const Json& byte : value.at("bytes")) bytes.push_back(static_cast<char>(byte.get<int>()));
  return bytes;
}

TruncationStrategy to_strategy(const std::string& name) {
  return name == "only_first" ? TruncationStrategy::only_first : TruncationStrategy::longest_first;
}

void print_row(const BertTokenizer& tokenizer, const Json& row, std::size_t max_seq_length, const std::string& strategy,
               Encoding& encoding) {
  const std::string text = to_bytes(row.at("text"));
  std::string pair;
  std::optional<std::string_view> text_pair;
  if (row.contains("pair") && !row["pair"].is_null()) text_pair = pair = to_bytes(row["pair"]);
  try {
    const std::size_t replaced = tokenizer.encode(text, text_pair, row.value("max_seq_length", max_seq_length),
                                                  to_strategy(row.value("strategy", strategy)), encoding);
    fmt::print("{{\"ids\": [{}], \"type_ids\": [{}], \"replaced\": {}}}\n", fmt::join(encoding.input_ids, ","),
               fmt::join(encoding.token_type_ids, ","), replaced);
  } catch (const Error& error) {
    fmt::print("{}\n", Json{{"error", error.what()}, {"exit_code", static_cast<int>(error.code())}}.dump());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const BertTokenizer tokenizer = BertTokenizer::from_pretrained(argv[1]);
    Encoding encoding;
    for (std::string line; std::getline(std::cin, line);)
      print_row(tokenizer, Json::parse(line), std::stoul(argv[2]), argv[3], encoding);
  } catch (const Error& error) {
    fmt::print(stderr, "error: {} hint: {}\n", error.what(), error.hint());
    return static_cast<int>(error.code());
  }
  return 0;
}
