// Prepares one file, as test_token_cache_file.py asks, and prints the cache's path.
// Usage: prepare_file SOURCE TOKENIZER_FOLDER CACHE_FOLDER MAX_SEQ_LENGTH fail|skip [TEXT_PAIR_COLUMN]
#include <iostream>

#include "base/error.h"
#include "data/prepare.h"
#include "data/token_cache.h"

int main(int argc, char** argv) {
  using namespace bertdist;
  const MpiSession session;
  const std::unique_ptr<Communicator> world = session.world({.timeout = std::chrono::duration<double>(5)});
  try {
    PrepareOptions options;
    options.columns.label_column = "label";
    options.token_cache_dir = argv[3];
    options.max_seq_length = std::stoull(argv[4]);
    options.on_bad_row = argv[5] == std::string("skip") ? BadRowPolicy::skip : BadRowPolicy::fail;
    if (argc > 6) options.columns.text_pair_column = argv[6];
    options.num_threads = 1 + world->rank();
    const BertTokenizer tokenizer = BertTokenizer::from_pretrained(argv[2]);
    const Log log(world->rank(), world->world_size());
    const std::filesystem::path path = prepare_token_cache(argv[1], options, tokenizer, *world, log);
    const TokenCache cache = TokenCache::open(path);
    if (world->rank() == 0) std::cout << path.string() << '\n' << cache.num_rows() << '\n';
  } catch (const Error& error) {
    if (world->rank() == 0) std::cerr << error.what() << "\nhint: " << error.hint() << '\n';
    return static_cast<int>(error.code());
  }
}
