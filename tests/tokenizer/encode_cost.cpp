// What encoding costs in counts, which no other program's load changes: reads rows, one a line, encodes all of them
// several times, and prints {"tokens": of all times, "allocations": of all but the first time}. Under callgrind the
// instructions of BertTokenizer::encode can be counted too.
// Usage: encode_cost MODEL_FOLDER TIMES < rows
#include <fmt/core.h>

#include <cstdlib>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "tokenizer/bert_tokenizer.h"

namespace {

std::size_t num_allocations = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  ++num_allocations;
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

int main(int argc, char** argv) {
  using namespace bertdist;
  if (argc != 3) return 2;
  const BertTokenizer tokenizer = BertTokenizer::from_pretrained(argv[1]);
  std::vector<std::string> rows;
  for (std::string row; std::getline(std::cin, row);) rows.push_back(row);

  Encoding encoding;
  std::size_t num_tokens = 0;
  std::size_t allocations_before = 0;
  for (int time = 0; time < std::stoi(argv[2]); ++time) {
    for (const std::string& row : rows) {
      tokenizer.encode(row, std::nullopt, 512, TruncationStrategy::longest_first, encoding);
      num_tokens += encoding.input_ids.size();
    }
    if (time == 0) allocations_before = num_allocations;
  }
  fmt::print("{{\"tokens\": {}, \"allocations\": {}}}\n", num_tokens, num_allocations - allocations_before);
  return 0;
}
