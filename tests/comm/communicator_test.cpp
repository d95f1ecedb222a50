// The conformance suite over one process and over MPI, and what MPI is asked besides: errors and parts.
#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "comm/communicator_suite.h"
#include "comm/error_told.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"

namespace bertdist {
namespace {

const Subject kOneProcess{.name = "one process",
                          .make = [](const CommunicatorOptions&) -> std::unique_ptr<Communicator> {
                            if (mpi_world_size() > 1) return nullptr;
                            return std::make_unique<OneProcessCommunicator>();
                          }};
const Subject kMpi{.name = "MPI", .make = [](const CommunicatorOptions& options) {
                     return std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, options);
                   }};

INSTANTIATE_TEST_SUITE_P(Sizes, CommunicatorTest,
                         testing::Combine(testing::Values(kOneProcess, kMpi),
                                          testing::Values(0, 1, 2, 5, 1000, 1 << 20)));

// More than one message of MPI holds in one go, and more than any gradient buffer of BERT needs (110 M are 440 MB; here
// 256 MB a rank). Small whole numbers, whose sum is exact in any order.
TEST(CommunicatorLarge, SixtyFourMillionFloats) {
  if (mpi_world_size() != 2) return;
  const std::unique_ptr<Communicator> communicator = kMpi.make({});
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
  return error_told(call, code);
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

// Rank 0 starts others than the rest; whoever asks first, of start() and finish(), is told.
TEST(CommunicatorErrors, QueuedCallsThatDifferAreNamedBeforeThePayloadMoves) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  if (communicator.world_size() == 1) return;
  std::vector<float> values{1, 2, 3};
  const std::unique_ptr<AllReduceQueue> queue = communicator.make_all_reduce_queue();
  const std::string mine = communicator.rank() == 0 ? "gradient bucket 2 of 3" : "gradient bucket 1 of 3";
  queue->start(buffer_of(std::span(values)), ReduceOp::sum, mine);
  const std::string message = error_of([&] { queue->finish(); });
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
  EXPECT_NE(message.find("all_reduce of gradient bucket 2 of 3 (3 float32)"), message.npos) << message;
  EXPECT_NE(message.find("all_reduce of gradient bucket 1 of 3 (3 float32)"), message.npos) << message;
  EXPECT_EQ(error_of([&] { queue->start(buffer_of(std::span(values)), ReduceOp::sum, mine); }), message);
}

// What the last rank started and does not finish is waited for when the queue goes: it leaves no peer behind.
TEST(CommunicatorErrors, AQueueThatGoesLeavesNoPeerInACollective) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {});
  std::vector<float> values{1};
  const std::unique_ptr<AllReduceQueue> queue = communicator.make_all_reduce_queue();
  {
    const std::unique_ptr<AllReduceQueue> short_lived = communicator.make_all_reduce_queue();
    const bool is_last = communicator.rank() == communicator.world_size() - 1;
    AllReduceQueue& mine = is_last ? *short_lived : *queue;
    mine.start(buffer_of(std::span(values)), ReduceOp::sum, "test");
    if (is_last) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    } else {
      mine.finish();
    }
  }
  communicator.barrier("test");
  EXPECT_EQ(values[0], static_cast<float>(communicator.world_size()));
}

// The rank whose main thread does not come to its next bucket is the one that is missed, not those whose threads wait.
TEST(CommunicatorErrors, ARankThatStartsNoFurtherBucketIsNamed) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(0.5)});
  if (communicator.world_size() == 1) return;
  communicator.progress().set_step(7);
  std::vector<float> values(10);
  const std::unique_ptr<AllReduceQueue> queue = communicator.make_all_reduce_queue();
  queue->start(buffer_of(std::span(values).first(5)), ReduceOp::sum, "gradient bucket 1 of 2");
  if (communicator.rank() == 1) {
    MPI_Barrier(MPI_COMM_WORLD);
    return;
  }
  queue->start(buffer_of(std::span(values).subspan(5)), ReduceOp::sum, "gradient bucket 2 of 2");
  const std::string message = error_of([&] { queue->finish(); });
  for (const char* part :
       {"step 7, all_reduce of gradient bucket 2 of 2 (5 float32): no sign of progress for 0.5 s from ",
        "rank 1 (host ", "the work after all_reduce of gradient bucket 1 of 2 (5 float32)"}) {
    EXPECT_NE(message.find(part), message.npos) << message;
  }
  EXPECT_EQ(message.find("rank 0"), message.npos) << message;
  MPI_Barrier(MPI_COMM_WORLD);
}

// Rank 1 is stopped in the middle of a collective; MPI holds rank 2 in a call that does not return, as it can where a
// message was begun. The others, which look, miss rank 1 alone.
TEST(CommunicatorErrors, ARankThatMpiHoldsIsNotTheOneThatIsMissing) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(0.5)});
  if (communicator.world_size() < 3) return;
  const int rank = communicator.rank();
  const pid_t pid = ::getpid();
  const std::vector<Bytes> pids = communicator.all_gather(std::as_bytes(std::span(&pid, 1)), "processes");
  const CollectiveSite site{.call = CollectiveCall::all_reduce, .what = ShortText("gradients")};
  const std::string message = error_of([&] {
    communicator.run_collective(site, [&](const MpiCommunicator::Look& look) {
      if (rank == 1) ::kill(pid, SIGSTOP);
      while (rank == 2 && !communicator.watch().has_verdict()) std::this_thread::yield();
      for (;;) look();
    });
  });
  if (rank == 0) {
    pid_t stopped = 0;
    std::memcpy(&stopped, pids[1].data(), sizeof(stopped));
    EXPECT_EQ(message.find("rank 2"), message.npos) << message;
    EXPECT_NE(message.find("no sign of progress for 0.5 s from rank 1 (host "), message.npos) << message;
    ::kill(stopped, SIGCONT);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(CommunicatorErrors, APeerThatWorksOnIsWaitedFor) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(2)});
  if (communicator.rank() == 0) {
    for (int piece = 0; piece < 30; ++piece) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      communicator.progress().advance();
    }
  }
  communicator.barrier("after work that takes longer than the timeout");
}

// Rank 0 waits for rank 1 alone, and the last rank for all: that rank 0 waits is no reason to miss it.
TEST(CommunicatorErrors, AWaitForAPeerThatWorksIsNoSilence) {
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(2)});
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
  MpiCommunicator communicator(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(2)});
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
