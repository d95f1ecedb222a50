#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <utility>

#include "base/error.h"
#include "commands.h"
#include "model_source.h"
#include "pretrained/model_folder.h"

namespace bertdist {

namespace {

// The next line of the standard input, however long it takes to come. False at the end.
bool next_line(std::string& line, Progress& progress) {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (std::cin.rdbuf()->in_avail() <= 0 && ::poll(&input, 1, /*milliseconds=*/200) == 0) progress.advance();
  progress.advance();
  return static_cast<bool>(std::getline(std::cin, line));
}

struct LineTokenizer {
  BertTokenizer tokenizer;
  std::size_t max_seq_length;
};

// A folder may hold a tokenizer alone: then there is no model to be asked for its positions.
LineTokenizer open_tokenizer(const Config& config) {
  const std::filesystem::path folder = resolve_model_folder(config.model_name_or_path);
  if (std::filesystem::exists(folder / "config.json")) {
    ModelSource source = open_model_source(config);
    return {std::move(source.tokenizer), source.max_seq_length};
  }
  BertTokenizer tokenizer = BertTokenizer::from_pretrained(folder);
  if (!config.max_seq_length) {
    throw Error(ExitCode::model,
                fmt::format("'{}' has no config.json, which would say how many tokens a row may have", folder.string()),
                "give --max_seq_length");
  }
  return {std::move(tokenizer), static_cast<std::size_t>(*config.max_seq_length)};
}

}  // namespace

void run_tokenize(const Job& job) {
  if (job.communicator.rank() != 0) return;
  const LineTokenizer source = open_tokenizer(job.config);

  std::ios::sync_with_stdio(false);
  Encoding encoding;
  std::size_t num_invalid_utf8 = 0;
  for (std::string line; next_line(line, job.communicator.progress());) {
    num_invalid_utf8 +=
        source.tokenizer.encode(line, std::nullopt, source.max_seq_length, truncation_strategy(job.config), encoding);
    std::cout << fmt::format("[{}]\n", fmt::join(encoding.input_ids, ", "));
  }
  std::cout.flush();
  if (!std::cout) throw Error(ExitCode::output, "the token ids could not be written");
  if (num_invalid_utf8 > 0) job.log.warn("invalid UTF-8 sequences read as U+FFFD: {}", num_invalid_utf8);
}

}  // namespace bertdist
