#pragma once

#include <string>

#include "base/log.h"
#include "comm/communicator.h"
#include "data/cache_folder.h"
#include "data/prepare.h"

namespace bertdist {

struct CacheJob {
  const Table& table;
  const ExampleReader& examples;
  const PrepareOptions& options;
  const BertTokenizer& tokenizer;
  const CacheFolder& folder;
  const CacheFields& fields;
  const std::string& content_hash;
};

// Tokenises the table on all ranks into folder.cache(), which appears whole or not at all. Collective; rank 0 holds the
// cache's lock. Throws as prepare_token_cache does, the same Error on every rank.
void build_token_cache(const CacheJob& job, Communicator& communicator, const Log& log);

}  // namespace bertdist
