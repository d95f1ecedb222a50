#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/bert.h"

namespace bertdist {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bertdist_model_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_whole_file(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The Error that `action` throws; fails the test where it throws none.
template <typename Action>
Error error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return Error(ExitCode::success, "");
}

inline BertConfig small_config() {
  BertConfig config;
  config.vocab_size = 50;
  config.hidden_size = 24;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 3;
  config.intermediate_size = 40;
  config.max_position_embeddings = 32;
  config.initializer_range = 0.2;
  config.id2label = {"a", "b", "c"};
  return config;
}

using TokenIds = std::vector<std::int64_t>;

inline std::vector<TokenIds> random_rows(const std::vector<std::int64_t>& lengths, std::int64_t vocab_size) {
  std::mt19937 random(7);
  std::vector<TokenIds> rows;
  for (const std::int64_t length : lengths) {
    TokenIds& row = rows.emplace_back();
    for (std::int64_t i = 0; i < length; ++i) row.push_back(static_cast<std::int64_t>(random() % vocab_size));
  }
  return rows;
}

inline BertInput pack(const std::vector<TokenIds>& rows, const std::vector<std::int64_t>& row_ids) {
  TokenIds tokens, types, positions;
  BertInput input{{}, {}, {}, {0}, row_ids};
  for (const TokenIds& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      tokens.push_back(row[i]);
      types.push_back(i > row.size() / 2);
      positions.push_back(static_cast<std::int64_t>(i));
    }
    input.cu_seqlens.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  input.token_ids = at::tensor(tokens, at::kLong);
  input.token_type_ids = at::tensor(types, at::kLong);
  input.position_ids = at::tensor(positions, at::kLong);
  return input;
}

}  // namespace bertdist
