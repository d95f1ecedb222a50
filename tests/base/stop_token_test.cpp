#include "base/stop_token.h"

#include <gtest/gtest.h>

#include <csignal>

namespace bertdist {
namespace {

TEST(StopToken, NotesTheFirstOfTheSignals) {
  const StopToken stop;
  EXPECT_FALSE(stop.signal());
  std::raise(SIGUSR1);
  EXPECT_EQ(stop.signal(), "SIGUSR1");
  std::raise(SIGTERM);
  EXPECT_EQ(stop.signal(), "SIGUSR1");
}

TEST(StopToken, StartsAfresh) {
  {
    const StopToken stop;
    std::raise(SIGTERM);
    EXPECT_EQ(stop.signal(), "SIGTERM");
  }
  EXPECT_FALSE(StopToken().signal());
}

TEST(StopToken, WithoutOneTheSignalsEndTheProcess) {
  { const StopToken stop; }
  EXPECT_EXIT(std::raise(SIGUSR1), testing::KilledBySignal(SIGUSR1), "");
  EXPECT_EXIT(std::raise(SIGTERM), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace bertdist
