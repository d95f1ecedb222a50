#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"

namespace bertdist {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public ::testing::Test {
 protected:
  AtomicFileTest() {
    std::string pattern = (fs::temp_directory_path() / "bertdist_atomic_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~AtomicFileTest() override { fs::remove_all(folder_); }

  static std::string content_of(const fs::path& path) {
    std::ostringstream content;
    content << std::ifstream(path).rdbuf();
    return content.str();
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(AtomicFileTest, ReplacesTheTargetAtOnceAndLeavesNothingElse) {
  const fs::path target = folder_ / "a.json";
  write_file_atomically(target, "first");
  write_file_atomically(target, "second");
  EXPECT_EQ(content_of(target), "second");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFileTest, WithoutCommitTheOldContentStays) {
  const fs::path target = folder_ / "a.json";
  write_file_atomically(target, "old");
  {
    const AtomicFile file(target);
    std::ofstream(file.temporary_path()) << "new";
  }
  EXPECT_EQ(content_of(target), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFileTest, AFolderAppearsWholeOrNotAtAll) {
  const fs::path target = folder_ / "checkpoint-1";
  {
    const AtomicDirectory directory(target);
    std::ofstream(directory.temporary_path() / "weights") << "half";
  }
  EXPECT_FALSE(fs::exists(target));
  AtomicDirectory directory(target);
  std::ofstream(directory.temporary_path() / "weights") << "all";
  directory.commit();
  EXPECT_EQ(content_of(target / "weights"), "all");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFileTest, AFolderIsThereAtEveryMomentWhileItIsReplaced) {
  const fs::path target = folder_ / "best";
  const auto replace = [&] {
    AtomicDirectory directory(target);
    std::ofstream(directory.temporary_path() / "weights") << "all";
    directory.commit();
  };
  replace();
  std::atomic<bool> done = false;
  std::int64_t looks = 0, misses = 0;
  std::thread reader([&] {
    for (; !done; ++looks) misses += fs::exists(target / "weights") ? 0 : 1;
  });
  for (int i = 0; i < 100; ++i) replace();
  done = true;
  reader.join();
  EXPECT_GT(looks, 100);
  EXPECT_EQ(misses, 0);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFileTest, AFolderThatDoesNotExistIsAnErrorOfOutput) {
  try {
    write_file_atomically(folder_ / "none" / "a.json", "text");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::output);
    EXPECT_NE(std::string(error.what()).find("none"), std::string::npos);
  }
}

}  // namespace
}  // namespace bertdist
