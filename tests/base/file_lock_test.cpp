#include "base/file_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bertdist {
namespace {

namespace fs = std::filesystem;

class FileLockTest : public ::testing::Test {
 protected:
  ~FileLockTest() override { fs::remove(path_); }
  const fs::path path_ = fs::path(testing::TempDir()) / ("file_lock_test." + std::to_string(::getpid()));
};

TEST_F(FileLockTest, OneHoldsItAndTheFileGoesWithIt) {
  {
    const std::optional<FileLock> lock = FileLock::try_acquire(path_);
    ASSERT_TRUE(lock && lock->locked());
    EXPECT_FALSE(FileLock::try_acquire(path_));
  }
  EXPECT_FALSE(fs::exists(path_));
  EXPECT_TRUE(FileLock::try_acquire(path_));
}

TEST_F(FileLockTest, AKilledProcessHoldsNothing) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::optional<FileLock> lock = FileLock::try_acquire(path_);
    if (lock && ::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_FALSE(FileLock::try_acquire(path_));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(fs::exists(path_));
  EXPECT_TRUE(FileLock::try_acquire(path_));
}

}  // namespace
}  // namespace bertdist
