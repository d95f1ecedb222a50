#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <iostream>
#include <string>

#include "base/error.h"
#include "commands.h"
#include "model_source.h"

namespace bertdist {

namespace {

// The next line of the standard input, however long it takes to come. False at the end.
bool next_line(std::string& line, Progress& progress) {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (std::cin.rdbuf()->in_avail() <= 0 && ::poll(&input, 1, /*milliseconds=*/200) == 0) progress.advance();
  progress.advance();
  return static_cast<bool>(std::getline(std::cin, line));
}

}  // namespace

void run_tokenize(const Job& job) {
  if (job.communicator.rank() != 0) return;
  const ModelSource source = open_model_source(job.config);

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
