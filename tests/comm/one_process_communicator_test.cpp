#include "comm/one_process_communicator.h"

#include <gtest/gtest.h>

namespace bertdist {
namespace {

TEST(OneProcessCommunicator, AbortEndsTheProcessWithTheCode) {
  OneProcessCommunicator communicator;
  EXPECT_EXIT(communicator.abort(7), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace bertdist
