// What every Communicator must do, with plain MPI as the oracle. Runs over MPI with any number of ranks, and over one
// process where there is one rank.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"

namespace bertdist {
namespace {

enum class Kind { one_process, mpi };

std::unique_ptr<Communicator> make_communicator(Kind kind) {
  if (kind == Kind::one_process) return std::make_unique<OneProcessCommunicator>();
  return std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, CommunicatorOptions{});
}

int mpi_world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

template <typename T>
MPI_Datatype mpi_type_of() {
  if constexpr (std::is_same_v<T, float>) return MPI_FLOAT;
  if constexpr (std::is_same_v<T, double>) return MPI_DOUBLE;
  return MPI_INT64_T;
}

// Values whose sum depends on the order in which it is taken, where T can tell.
template <typename T>
std::vector<T> random_values(std::size_t count, int rank) {
  std::mt19937_64 generator(static_cast<std::uint64_t>(rank));
  std::vector<T> values(count);
  if constexpr (std::is_integral_v<T>) {
    std::uniform_int_distribution<T> uniform(-(T{1} << 50), T{1} << 50);
    for (T& value : values) value = uniform(generator);
  } else {
    std::normal_distribution<T> normal;
    for (T& value : values) value = normal(generator);
  }
  return values;
}

using Parameters = std::tuple<Kind, std::size_t>;

class CommunicatorTest : public testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override {
    if (kind() == Kind::one_process && mpi_world_size() > 1) return;
    communicator_ = make_communicator(kind());
  }
  Kind kind() const { return std::get<0>(GetParam()); }
  std::size_t size() const { return std::get<1>(GetParam()); }
  int rank() const { return communicator_->rank(); }
  int world_size() const { return communicator_->world_size(); }

  template <typename T>
  void expect_sum_in_rank_order() {
    std::vector<T> values = random_values<T>(size(), rank());
    std::vector<T> of_all(size() * static_cast<std::size_t>(world_size()));
    const auto count = static_cast<int>(size());
    MPI_Allgather(values.data(), count, mpi_type_of<T>(), of_all.data(), count, mpi_type_of<T>(), MPI_COMM_WORLD);
    std::vector<T> expected(of_all.begin(), of_all.begin() + count);
    for (std::size_t i = size(); i < of_all.size(); ++i) expected[i % size()] += of_all[i];
    communicator_->all_reduce(buffer_of(std::span(values)), ReduceOp::sum, "test");
    EXPECT_EQ(values, expected);
  }

  template <typename T>
  void expect_max() {
    std::vector<T> values = random_values<T>(size(), rank());
    std::vector<T> expected(size());
    MPI_Allreduce(values.data(), expected.data(), static_cast<int>(size()), mpi_type_of<T>(), MPI_MAX, MPI_COMM_WORLD);
    communicator_->all_reduce(buffer_of(std::span(values)), ReduceOp::max, "test");
    EXPECT_EQ(values, expected);
  }

  std::unique_ptr<Communicator> communicator_;  // null where this kind has no such number of ranks
};

TEST_P(CommunicatorTest, KnowsItsRanks) {
  if (!communicator_) return;
  int mpi_rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank);
  EXPECT_EQ(rank(), mpi_rank);
  EXPECT_EQ(world_size(), mpi_world_size());
  EXPECT_LT(communicator_->local_rank(), communicator_->local_world_size());
}

TEST_P(CommunicatorTest, SumIsTakenInRankOrder) {
  if (!communicator_) return;
  expect_sum_in_rank_order<float>();
  expect_sum_in_rank_order<double>();
  expect_sum_in_rank_order<std::int64_t>();
}

TEST_P(CommunicatorTest, MaxEqualsPlainMpi) {
  if (!communicator_) return;
  expect_max<float>();
  expect_max<double>();
  expect_max<std::int64_t>();
}

TEST_P(CommunicatorTest, BucketsAndOneBufferGiveTheSameBits) {
  if (!communicator_) return;
  std::vector<float> whole = random_values<float>(size(), rank());
  std::vector<float> buckets = whole;
  communicator_->all_reduce(buffer_of(std::span(whole)), ReduceOp::sum, "whole");
  const std::size_t third = buckets.size() / 3;
  communicator_->all_reduce(buffer_of(std::span(buckets).first(third)), ReduceOp::sum, "first bucket");
  communicator_->all_reduce(buffer_of(std::span(buckets).subspan(third)), ReduceOp::sum, "second bucket");
  EXPECT_EQ(whole, buckets);
}

TEST_P(CommunicatorTest, GathersUnevenPartsInTheOrderOfRanks) {
  if (!communicator_) return;
  // Rank 0 has nothing, and the last one the most.
  const auto part_of = [&](int part) {
    return Bytes(size() * static_cast<std::size_t>(part), std::byte{static_cast<unsigned char>(part + 1)});
  };
  for (int root = 0; root < world_size(); ++root) {
    const std::vector<Bytes> gathered = communicator_->gather_to_root(part_of(rank()), root, "test");
    ASSERT_EQ(gathered.size(), rank() == root ? static_cast<std::size_t>(world_size()) : 0U);
    for (std::size_t part = 0; part < gathered.size(); ++part) {
      EXPECT_EQ(gathered[part], part_of(static_cast<int>(part)));
    }
  }
  const std::vector<Bytes> all = communicator_->all_gather(part_of(rank()), "test");
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world_size()));
  for (std::size_t part = 0; part < all.size(); ++part) EXPECT_EQ(all[part], part_of(static_cast<int>(part)));
}

TEST_P(CommunicatorTest, BroadcastsFromAnyRoot) {
  if (!communicator_) return;
  for (int root = 0; root < world_size(); ++root) {
    Bytes bytes(size(), std::byte{static_cast<unsigned char>(rank())});
    communicator_->broadcast(bytes, root, "test");
    EXPECT_EQ(bytes, Bytes(size(), std::byte{static_cast<unsigned char>(root)}));
  }
}

TEST_P(CommunicatorTest, CallsOfManyKindsKeepTheirOrder) {
  if (!communicator_) return;
  for (std::int64_t round = 0; round < 20; ++round) {
    std::vector<std::int64_t> values{round, rank()};
    communicator_->all_reduce(buffer_of(std::span(values)), ReduceOp::max, "test");
    EXPECT_EQ(values, (std::vector<std::int64_t>{round, world_size() - 1}));
    communicator_->barrier("test");
    EXPECT_EQ(broadcast_text(*communicator_, std::to_string(round * (rank() + 1)), 0, "test"), std::to_string(round));
    communicator_->progress().enter("work");
    communicator_->progress().advance();
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, CommunicatorTest,
                         testing::Combine(testing::Values(Kind::one_process, Kind::mpi),
                                          testing::Values(0, 1, 2, 5, 1000, 1 << 20)));

// More than one message of MPI holds in one go, and more than any gradient buffer of BERT needs (110 M are 440 MB; here
// 256 MB a rank). Small whole numbers, whose sum is exact in any order.
TEST(CommunicatorLarge, SixtyFourMillionFloats) {
  if (mpi_world_size() != 2) return;
  const std::unique_ptr<Communicator> communicator = make_communicator(Kind::mpi);
  const int rank = communicator->rank();
  std::vector<float> values(std::size_t{64} << 20);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>((i * 7 + static_cast<unsigned>(rank)) % 1001);
  communicator->all_reduce(buffer_of(std::span(values)), ReduceOp::sum, "test");
  std::size_t num_wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    num_wrong += values[i] == static_cast<float>(i * 7 % 1001 + (i * 7 + 1) % 1001) ? 0 : 1;
  }
  EXPECT_EQ(num_wrong, 0U);
}

TEST(CommunicatorErrors, DifferentCallsAreNamedBeforeThePayloadMoves) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  if (communicator.world_size() == 1) return;
  std::vector<float> values(communicator.rank() == 0 ? 3 : 4);
  EXPECT_THROW(communicator.all_reduce(buffer_of(std::span(values)), ReduceOp::sum, "test"), Error);
}

template <typename Call>
std::string error_of(const Call& call, ExitCode code = ExitCode::peer) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "";
}

TEST(CommunicatorErrors, TheRankInAnotherCallIsNamedWithBothCalls) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  if (communicator.world_size() == 1) return;
  std::vector<float> values{1, 2, 3};
  const std::vector<float> before = values;
  communicator.progress().set_step(7);
  const std::string message = error_of([&] {
    if (communicator.rank() == 1) communicator.barrier("a wrong turn");
    communicator.all_reduce(buffer_of(std::span(values)), ReduceOp::sum, "gradients");
  });
  EXPECT_EQ(values, before);
  for (const char* part :
       {"step 7, ", "rank 1 (host ", ", CPU) in barrier of a wrong turn", "all_reduce of gradients (3 float32)"}) {
    EXPECT_NE(message.find(part), message.npos) << message;
  }
  if (communicator.world_size() > 2) {
    EXPECT_EQ(message.find("rank 0"), message.npos) << message;
  }
}

TEST(CommunicatorErrors, AnotherOperationOrRootIsAnotherCall) {
  if (mpi_world_size() == 1) return;
  std::vector<float> values{1, 2, 3};
  {
    MpiCommunicator communicator(MPI_COMM_WORLD, {});
    const ReduceOp op = communicator.rank() == 0 ? ReduceOp::sum : ReduceOp::max;
    EXPECT_NE(error_of([&] { communicator.all_reduce(buffer_of(std::span(values)), op, "test"); }), "");
  }
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  const int root = communicator.rank() == 0 ? 0 : 1;
  EXPECT_NE(error_of([&] { communicator.broadcast(std::as_writable_bytes(std::span(values)), root, "test"); }), "");
}

TEST(CommunicatorErrors, APeerThatWorksOnIsWaitedFor) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(1)});
  if (communicator.rank() == 0) {
    for (int piece = 0; piece < 30; ++piece) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      communicator.progress().advance();
    }
  }
  communicator.barrier("after work of three times the timeout");
}

// Rank 0 waits for rank 1 alone, and the last rank for all: that rank 0 waits is no reason to miss it.
TEST(CommunicatorErrors, AWaitForAPeerThatWorksIsNoSilence) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(1)});
  const std::unique_ptr<Communicator> pair = communicator.split(communicator.rank() / 2, "pairs");
  if (communicator.rank() == 1) {
    for (int piece = 0; piece < 40; ++piece) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      communicator.progress().advance();
    }
  }
  if (communicator.rank() < 2) pair->barrier("a pair");
  communicator.barrier("all");
}

TEST(CommunicatorErrors, APeerThatDoesNotComeEndsTheWait) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(0.5)});
  if (communicator.rank() != 0 && communicator.rank() == communicator.world_size() - 1) {
    communicator.progress().enter("evaluation of the late one");
    // The late peer waits outside until the others have given up.
    MPI_Barrier(MPI_COMM_WORLD);
    return;
  }
  if (communicator.world_size() == 1) return;
  communicator.progress().set_step(3);
  const std::string message = error_of([&] { communicator.barrier("test"); });
  const std::string missing = "rank " + std::to_string(communicator.world_size() - 1) + " (host ";
  for (const std::string& part :
       {std::string("step 3, barrier of test"), missing, std::string("evaluation of the late one")}) {
    EXPECT_NE(message.find(part), message.npos) << message;
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(CommunicatorErrors, RanksThatDifferAreNamed) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  require_same_on_all_ranks(communicator, "same", "test");
  if (communicator.world_size() == 1) return;
  EXPECT_THROW(require_same_on_all_ranks(communicator, std::to_string(communicator.rank()), "test"), Error);
}

TEST(CommunicatorErrors, ValuesThatDifferAreNamedWithTheirRanks) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  std::map<std::string, std::string> values = {{"seed", "1"}, {"version", "0.1.0"}, {"text", std::string(200, 'a')}};
  require_same_values_on_all_ranks(communicator, values, "test");
  if (communicator.world_size() < 3) return;
  if (communicator.rank() == 1) values["version"] = "0.2.0";
  if (communicator.rank() >= 2) values["seed"] = "2";
  if (communicator.rank() >= 2) values["freeze"] = "\"base\"";
  const std::string message =
      error_of([&] { require_same_values_on_all_ranks(communicator, values, "test"); }, ExitCode::communication);
  std::string others = communicator.world_size() == 3 ? "rank 2 differs" : "ranks 2";
  for (int rank = 3; rank < communicator.world_size(); ++rank) others += ", " + std::to_string(rank);
  if (communicator.world_size() > 3) others += " differ";
  EXPECT_EQ(message, others +
                         " from rank 0 in freeze (\"base\", rank 0: unset), seed (2, rank 0: 1); "
                         "rank 1 differs from rank 0 in version (0.2.0, rank 0: 0.1.0)");
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
