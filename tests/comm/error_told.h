#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace bertdist {

// What the Error of this code says that `call` throws; empty where it throws none. On a busy machine the thread that
// stands in for a late main thread has told it on the standard error already, and the Error is empty.
template <typename Call>
std::string error_told(const Call& call, ExitCode code) {
  testing::internal::CaptureStderr();
  bool is_thrown = false;
  std::string message;
  try {
    call();
  } catch (const Error& error) {
    is_thrown = true;
    EXPECT_EQ(error.code(), code) << error.what();
    message = error.what();
  }
  const std::string told = testing::internal::GetCapturedStderr();
  const std::size_t begin = told.find("error: ");
  if (!is_thrown || !message.empty() || begin == told.npos) return message;
  return told.substr(begin + 7, told.find('\n', begin) - begin - 7);
}

}  // namespace bertdist
