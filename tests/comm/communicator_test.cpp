#include <gtest/gtest.h>
#include <mpi.h>

#include <cstring>
#include <random>

#include "base/error.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"

namespace bertdist {
namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

class CommunicatorTest : public testing::TestWithParam<std::size_t> {
 protected:
  MpiCommunicator communicator_{MPI_COMM_WORLD, {}};
  const unsigned rank_ = static_cast<unsigned>(communicator_.rank());
};

TEST_P(CommunicatorTest, SumIsTakenInRankOrder) {
  std::vector<float> values = random_values(GetParam(), rank_);
  std::vector<float> expected = random_values(GetParam(), 0);
  for (int rank = 1; rank < communicator_.world_size(); ++rank) {
    const std::vector<float> part = random_values(GetParam(), static_cast<unsigned>(rank));
    for (std::size_t i = 0; i < part.size(); ++i) expected[i] += part[i];
  }
  communicator_.all_reduce(buffer_of(std::span(values)), ReduceOp::sum, "test");
  EXPECT_EQ(values, expected);
}

TEST_P(CommunicatorTest, BucketsAndOneBufferGiveTheSameBits) {
  std::vector<float> whole = random_values(GetParam(), rank_);
  std::vector<float> buckets = whole;
  communicator_.all_reduce(buffer_of(std::span(whole)), ReduceOp::sum, "whole");
  const std::size_t half = buckets.size() / 3;
  communicator_.all_reduce(buffer_of(std::span(buckets).first(half)), ReduceOp::sum, "first bucket");
  communicator_.all_reduce(buffer_of(std::span(buckets).subspan(half)), ReduceOp::sum, "second bucket");
  EXPECT_EQ(whole, buckets);
}

TEST_P(CommunicatorTest, MaxEqualsPlainMpi) {
  std::vector<std::int64_t> values(GetParam());
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<std::int64_t>((i * 7919 + rank_ * 104729) % 1000);
  std::vector<std::int64_t> expected(values.size());
  MPI_Allreduce(values.data(), expected.data(), static_cast<int>(values.size()), MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
  communicator_.all_reduce(buffer_of(std::span(values)), ReduceOp::max, "test");
  EXPECT_EQ(values, expected);
}

TEST_P(CommunicatorTest, GathersUnevenParts) {
  const Bytes mine(GetParam() + rank_, std::byte{static_cast<unsigned char>(rank_)});
  const int root = communicator_.world_size() - 1;
  const std::vector<Bytes> gathered = communicator_.gather_to_root(mine, root, "test");
  ASSERT_EQ(gathered.size(), communicator_.rank() == root ? static_cast<std::size_t>(root + 1) : 0U);
  const std::vector<Bytes> all = communicator_.all_gather(mine, "test");
  ASSERT_EQ(all.size(), static_cast<std::size_t>(communicator_.world_size()));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    EXPECT_EQ(all[rank], Bytes(GetParam() + rank, std::byte{static_cast<unsigned char>(rank)}));
    if (!gathered.empty()) {
      EXPECT_EQ(gathered[rank], all[rank]);
    }
  }
}

TEST_P(CommunicatorTest, BroadcastsFromAnyRoot) {
  for (int root = 0; root < communicator_.world_size(); ++root) {
    Bytes bytes(GetParam(), std::byte{static_cast<unsigned char>(rank_)});
    communicator_.broadcast(bytes, root, "test");
    EXPECT_EQ(bytes, Bytes(GetParam(), std::byte{static_cast<unsigned char>(root)}));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, CommunicatorTest, testing::Values(0, 1, 2, 5, 1000, 1 << 20));

TEST(CommunicatorErrors, DifferentCallsAreNamedBeforeThePayloadMoves) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  if (communicator.world_size() == 1) return;
  std::vector<float> values(communicator.rank() == 0 ? 3 : 4);
  EXPECT_THROW(communicator.all_reduce(buffer_of(std::span(values)), ReduceOp::sum, "test"), Error);
}

TEST(CommunicatorErrors, APeerThatDoesNotComeEndsTheWait) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(0.5)});
  if (communicator.rank() != 0 && communicator.rank() == communicator.world_size() - 1) {
    // The late peer waits outside until the others have given up.
    MPI_Barrier(MPI_COMM_WORLD);
    return;
  }
  if (communicator.world_size() == 1) return;
  EXPECT_THROW(communicator.barrier("test"), Error);
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(CommunicatorErrors, RanksThatDifferAreNamed) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  require_same_on_all_ranks(communicator, "same", "test");
  if (communicator.world_size() == 1) return;
  EXPECT_THROW(require_same_on_all_ranks(communicator, std::to_string(communicator.rank()), "test"), Error);
}

// Colours 0 and 1 by the rank's parity, compared with plain MPI's split by the same colours.
TEST(CommunicatorSplit, PartsHaveTheRanksOfOneColorInTheirOrder) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  const int color = communicator.rank() % 2;
  const std::unique_ptr<Communicator> part = communicator.split(color, "test");
  MPI_Comm reference = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, color, communicator.rank(), &reference);
  int rank = -1;
  int size = -1;
  MPI_Comm_rank(reference, &rank);
  MPI_Comm_size(reference, &size);
  EXPECT_EQ(part->rank(), rank);
  EXPECT_EQ(part->world_size(), size);

  std::vector<std::int64_t> sum{communicator.rank(), 1};
  std::vector<std::int64_t> expected(sum.size());
  MPI_Allreduce(sum.data(), expected.data(), 2, MPI_INT64_T, MPI_SUM, reference);
  part->all_reduce(buffer_of(std::span(sum)), ReduceOp::sum, "sum of a part");
  EXPECT_EQ(sum, expected);
  MPI_Comm_free(&reference);
}

// The parts run different collectives at the same time, which on one communicator would be an error; then all meet.
TEST(CommunicatorSplit, PartsDoNotMeetInEachOthersCollectives) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  const int color = communicator.rank() % 2;
  const std::unique_ptr<Communicator> part = communicator.split(color, "test");
  for (int round = 0; round <= color; ++round) {
    const std::string mine = std::to_string(communicator.rank());
    const std::vector<Bytes> ranks = part->all_gather(std::as_bytes(std::span(mine)), color == 0 ? "even" : "odd");
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      const std::string expected = std::to_string(2 * i + static_cast<std::size_t>(color));
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(ranks[i].data()), ranks[i].size()), expected);
    }
  }
  communicator.barrier("after the parts");
}

TEST(CommunicatorSplit, APartCanBeSplitAndOutlivesTheWhole) {
  auto communicator = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, CommunicatorOptions{});
  const int rank = communicator->rank();
  const std::unique_ptr<Communicator> half = communicator->split(rank / 2, "pairs");
  const std::unique_ptr<Communicator> single = half->split(rank % 2, "singles");
  communicator.reset();
  EXPECT_EQ(single->world_size(), 1);
  EXPECT_EQ(broadcast_text(*half, std::to_string(rank), 0, "test"), std::to_string(rank / 2 * 2));
}

TEST(CommunicatorSplit, OneProcessIsItsOnlyPart) {
  OneProcessCommunicator communicator;
  const std::unique_ptr<Communicator> part = communicator.split(3, "test");
  EXPECT_EQ(part->rank(), 0);
  EXPECT_EQ(part->world_size(), 1);
}

TEST(CommunicatorText, TravelsFromRoot) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  EXPECT_EQ(broadcast_text(communicator, communicator.rank() == 0 ? "from root" : "", 0, "test"), "from root");
}

}  // namespace
}  // namespace bertdist
