#include <gtest/gtest.h>

#include "comm/communicator.h"

int main(int argc, char** argv) {
  const bertdist::MpiSession session;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
