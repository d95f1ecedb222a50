#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/config.h"

namespace bertdist {

// A folder of its own for each test, with the variables that decide token_cache_dir set to known values.
class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bertdist_config_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    setenv("HOME", "/home/someone", 1);
    unsetenv("XDG_CACHE_HOME");
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& text) const {
    const std::string file = (folder_ / "run.toml").string();
    std::ofstream(file) << text;
    return file;
  }

  // A train run that is complete but for what `text` and `arguments` say.
  Config train(const std::string& text, std::vector<std::string> arguments = {}) const {
    const std::string complete = "model_name_or_path = 'model'\ntrain_file = 'train.csv'\noutput_dir = 'out'\n";
    arguments.insert(arguments.begin(), {"--config", write(complete + text)});
    return parse_config(Command::train, arguments);
  }

  std::filesystem::path folder_;
};

template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ExitCode::internal, "no error");
}

inline std::string read_whole(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace bertdist
