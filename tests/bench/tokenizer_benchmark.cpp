// BertTokenizer::encode over the lines of a file, on one thread.
// Usage: tokenizer_benchmark MODEL_FOLDER TEXT_FILE [--benchmark_...]
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "tokenizer/bert_tokenizer.h"

namespace {

using namespace bertdist;

std::vector<std::string> read_lines(const char* path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

void encode(benchmark::State& state, const BertTokenizer& tokenizer, const std::vector<std::string>& lines) {
  Encoding encoding;
  std::size_t num_tokens = 0;
  std::size_t num_bytes = 0;
  for (auto _ : state) {
    for (const std::string& line : lines) {
      tokenizer.encode(line, std::nullopt, 512, TruncationStrategy::longest_first, encoding);
      num_tokens += encoding.input_ids.size();
      num_bytes += line.size();
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(num_bytes));
  state.counters["tokens_per_second"] =
      benchmark::Counter(static_cast<double>(num_tokens), benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 3) {
    fmt::print(stderr, "usage: {} MODEL_FOLDER TEXT_FILE [--benchmark_...]\n", argv[0]);
    return 2;
  }
  try {
    const BertTokenizer tokenizer = BertTokenizer::from_pretrained(argv[1]);
    const std::vector<std::string> lines = read_lines(argv[2]);
    benchmark::RegisterBenchmark("encode", [&](benchmark::State& state) {
      encode(state, tokenizer, lines);
    })->Unit(benchmark::kMillisecond);
    benchmark::RunSpecifiedBenchmarks();
  } catch (const Error& error) {
    fmt::print(stderr, "error: {} hint: {}\n", error.what(), error.hint());
    return static_cast<int>(error.code());
  }
  return 0;
}
