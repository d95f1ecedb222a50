// NcclCommunicator where the device is late, hangs or fails, which the stand-in can do on demand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <atomic>

#include "base/error.h"
#include "comm/device_memory.h"
#include "comm/error_told.h"
#include "comm/nccl/nccl_communicator.h"
#include "nccl_stand_in/stand_in.h"

namespace bertdist {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class NcclTest : public testing::Test {
 protected:
  void TearDown() override {
    stand_in::hold_collectives(false);
    stand_in::set_async_error(ncclSuccess);
    stand_in::set_num_devices(8);
    stand_in::show_own_device_only(-1);
    stand_in::set_random_pauses(false);
    stand_in::set_event_waits(true);
    // Whoever hung or failed is waited for by plain MPI, which nothing of this disturbs.
    MPI_Barrier(MPI_COMM_WORLD);
  }

  static std::unique_ptr<NcclCommunicator> make(double timeout = 60) {
    return NcclCommunicator::of_world(MPI_COMM_WORLD, {.timeout = std::chrono::duration<double>(timeout)});
  }
  static int world_size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
  }
  // "Device" memory of the stand-in is any memory.
  static Buffer on_device(std::vector<float>& values, cudaStream_t stream) {
    return {values.data(), values.size(), DType::float32, Memory::device, stream};
  }

  template <typename Call>
  static std::string error_of(ExitCode code, const Call& call) {
    const std::string message = error_told(call, code);
    EXPECT_NE(message, "") << "no error";
    return message;
  }
};

// 1 + 2 + ... of the ranks, in any order exact.
float sum_of_ranks(int world_size) {
  return static_cast<float>(world_size * (world_size + 1)) / 2;
}

TEST_F(NcclTest, StreamsWaitForEachOtherAndTheHostForNone) {
  const auto communicator = make();
  const TestStream stream;
  constexpr int kRounds = 20;
  std::vector<std::vector<float>> buffers(kRounds, std::vector<float>(1000));
  std::vector<std::vector<float>> results(kRounds);
  std::atomic<bool> may_begin{false};
  stand_in::set_random_pauses(true);
  stand_in::enqueue(stream, [&] { may_begin.wait(false); });
  for (int round = 0; round < kRounds; ++round) {
    std::vector<float>& buffer = buffers[static_cast<std::size_t>(round)];
    stand_in::enqueue(stream, [&buffer, value = static_cast<float>((round + 1) * (communicator->rank() + 1))] {
      std::fill(buffer.begin(), buffer.end(), value);
    });
    communicator->all_reduce(on_device(buffer, stream), ReduceOp::sum, "test");
    stand_in::enqueue(stream, [&buffer, &result = results[static_cast<std::size_t>(round)]] { result = buffer; });
  }
  // All that was only enqueued so far: the stream waits for the host.
  EXPECT_TRUE(results[0].empty());
  may_begin = true;
  may_begin.notify_all();
  communicator->synchronize("test");
  cudaStreamSynchronize(stream);
  for (int round = 0; round < kRounds; ++round) {
    EXPECT_EQ(results[static_cast<std::size_t>(round)],
              std::vector<float>(1000, static_cast<float>(round + 1) * sum_of_ranks(world_size())))
        << round;
  }
}

// The collective runs before the buffer is filled, and the test above would see it.
TEST_F(NcclTest, WithoutEventsTheStandInRunsAhead) {
  const auto communicator = make();
  const TestStream stream;
  std::vector<float> buffer(1000);
  std::atomic<bool> may_begin{false};
  stand_in::set_event_waits(false);
  stand_in::enqueue(stream, [&] {
    may_begin.wait(false);
    std::fill(buffer.begin(), buffer.end(), 1.0F);
  });
  communicator->all_reduce(on_device(buffer, stream), ReduceOp::sum, "test");
  communicator->synchronize("test");
  may_begin = true;
  may_begin.notify_all();
  cudaStreamSynchronize(stream);
  EXPECT_EQ(buffer, std::vector<float>(1000, 1.0F)) << "the sum was taken before the values were there";
}

TEST_F(NcclTest, AnErrorOfNcclAbortsAndIsThrownByTheNextCall) {
  const int aborts = stand_in::num_aborts();
  {
    const auto communicator = make();
    const TestStream stream;
    std::vector<float> values(10);
    communicator->barrier("test");
    stand_in::set_async_error(ncclRemoteError);
    while (stand_in::num_aborts() == aborts) std::this_thread::yield();
    EXPECT_THAT(error_of(ExitCode::communication,
                         [&] { communicator->all_reduce(on_device(values, stream), ReduceOp::sum, "test"); }),
                AllOf(HasSubstr("NCCL failed"), HasSubstr("remote process exited"), HasSubstr("from the stand-in")));
    EXPECT_THAT(error_of(ExitCode::communication, [&] { communicator->barrier("test"); }), HasSubstr("NCCL failed"));
  }
  EXPECT_EQ(stand_in::num_aborts(), aborts + 1) << "once, not again by the destructor";
}

// The stream's later work neither holds up what was started before it nor sees a result before finish(): backward and
// reduction overlap.
TEST_F(NcclTest, QueuedAllReducesOverlapWithWhatTheStreamDoesMeanwhile) {
  const auto communicator = make();
  const TestStream stream;
  const auto size = communicator->world_size();
  std::vector<float> values(1000);
  std::atomic<bool> may_begin{false};
  std::atomic<bool> backward_may_end{false};
  float seen_after_finish = 0;
  stand_in::set_random_pauses(true);
  const std::unique_ptr<AllReduceQueue> queue = communicator->make_all_reduce_queue();
  stand_in::enqueue(stream, [&] {
    may_begin.wait(false);
    std::fill(values.begin(), values.end(), static_cast<float>(communicator->rank() + 1));
  });
  queue->start(on_device(values, stream), ReduceOp::sum, "gradient bucket 1 of 1");
  stand_in::enqueue(stream, [&] { backward_may_end.wait(false); });
  queue->finish();  // the host waits for no device
  stand_in::enqueue(stream, [&] { seen_after_finish = values[999]; });
  EXPECT_EQ(values[0], 0) << "it did not wait for what was in the stream before";
  may_begin = true;
  may_begin.notify_all();
  communicator->synchronize("test");
  EXPECT_EQ(values, std::vector<float>(1000, sum_of_ranks(size))) << "it waited for what came after it";
  EXPECT_EQ(seen_after_finish, 0);
  backward_may_end = true;
  backward_may_end.notify_all();
  cudaStreamSynchronize(stream);
  EXPECT_EQ(seen_after_finish, sum_of_ranks(size));
}

TEST_F(NcclTest, AfterAFinishedQueueTheStreamWaitsForTheSums) {
  const auto communicator = make();
  const TestStream stream;
  std::vector<float> values(1000, 1);
  std::vector<float> result;
  stand_in::set_random_pauses(true);
  const std::unique_ptr<AllReduceQueue> queue = communicator->make_all_reduce_queue();
  for (int round = 0; round < 20; ++round) {
    stand_in::enqueue(stream, [&] { std::fill(values.begin(), values.end(), 1.0F); });
    queue->start(on_device(values, stream), ReduceOp::sum, "test");
    queue->finish();
    stand_in::enqueue(stream, [&] { result = values; });
    cudaStreamSynchronize(stream);
    ASSERT_EQ(result, std::vector<float>(1000, static_cast<float>(communicator->world_size())));
  }
}

// The collective was enqueued by all, but the last rank's device hangs, and its main thread does not come back.
TEST_F(NcclTest, ARankWhoseDeviceHangsIsNamed) {
  if (world_size() < 3) return;
  const int aborts = stand_in::num_aborts();
  const auto communicator = make(0.5);
  const bool hangs = communicator->rank() == world_size() - 1;
  const TestStream stream;
  std::vector<float> values(10);
  stand_in::hold_collectives(hangs);
  communicator->progress().set_step(7);
  communicator->all_reduce(on_device(values, stream), ReduceOp::sum, "gradients");
  if (hangs) {
    MPI_Barrier(MPI_COMM_WORLD);
    return;
  }
  EXPECT_THAT(
      error_of(ExitCode::peer, [&] { communicator->synchronize("loss"); }),
      AllOf(HasSubstr("step 7, synchronize of loss"), HasSubstr("rank " + std::to_string(world_size() - 1) + " (host "),
            HasSubstr("Stand-in GPU"), HasSubstr("the work after all_reduce of gradients (10 float32 on the device)")));
  while (stand_in::num_aborts() == aborts) std::this_thread::yield();
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_F(NcclTest, AMainThreadThatTheDeviceBlocksIsFreed) {
  if (world_size() > 2) return;  // the wait for the timeout is long, and the same
  const auto communicator = make(0.5);
  const TestStream stream;
  std::vector<float> values(10);
  stand_in::hold_collectives(communicator->rank() == 0);
  communicator->all_reduce(on_device(values, stream), ReduceOp::sum, "gradients");
  cudaStreamSynchronize(stream);
  EXPECT_THAT(error_of(ExitCode::communication, [&] { communicator->barrier("test"); }),
              AllOf(HasSubstr("all_reduce of gradients (10 float32 on the device)"), HasSubstr("does not end")));
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_F(NcclTest, DifferentCallsAreNamedBeforeThePayloadMoves) {
  if (world_size() == 1) return;
  const auto communicator = make();
  const TestStream stream;
  std::vector<float> values{1, 2, 3};
  const bool differs = communicator->rank() == 1;
  const std::string message = error_of(ExitCode::peer, [&] {
    communicator->all_reduce(differs ? buffer_of(std::span(values)) : on_device(values, stream), ReduceOp::sum, "test");
  });
  EXPECT_THAT(message, AllOf(HasSubstr("all_reduce of test (3 float32)"), HasSubstr("(3 float32 on the device)")));
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
}

TEST_F(NcclTest, MoreRanksThanGpusAreNamed) {
  if (world_size() == 1) return;
  stand_in::set_num_devices(world_size() - 1);
  EXPECT_THAT(error_of(ExitCode::device, [] { make(); }),
              AllOf(HasSubstr("rank 0 and rank " + std::to_string(world_size() - 1) + " on host "),
                    HasSubstr("have the same GPU (Stand-in GPU, GPU-42000000-"), HasSubstr("more ranks than GPUs"),
                    HasSubstr("sees " + std::to_string(world_size() - 1))));
}

TEST_F(NcclTest, UnderSlurmEachRankMaySeeOneGpu) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  stand_in::show_own_device_only(rank);
  EXPECT_EQ(make()->device().index, 0);
  stand_in::show_own_device_only(5);
  if (world_size() == 1) return;
  EXPECT_THAT(error_of(ExitCode::device, [] { make(); }), HasSubstr("have the same GPU"));
}

TEST_F(NcclTest, WithoutADriverItSaysSo) {
  stand_in::set_num_devices(0);
  EXPECT_THAT(error_of(ExitCode::device, [] { make(); }), HasSubstr("CUDA driver version is insufficient"));
}

TEST_F(NcclTest, VersionsAndTopologyAreTold) {
  const auto communicator = make();
  EXPECT_EQ(communicator->device().index, communicator->local_rank());
  const std::vector<std::string>& lines = communicator->topology();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], AllOf(HasSubstr("NCCL 2.28.9, CUDA 13.0 (driver 13.1): "), HasSubstr("on 1 host")));
  const std::string last = std::to_string(world_size() - 1);
  EXPECT_THAT(lines[1], AllOf(HasSubstr("rank 0 on 0 Stand-in GPU (0000:00:00.0)"),
                              HasSubstr("rank " + last + " on " + last + " Stand-in GPU (0000:0" + last + ":00.0)")));
}

TEST_F(NcclTest, PartsReduceAmongThemselves) {
  const auto communicator = make();
  const int color = communicator->rank() % 2;
  const std::unique_ptr<Communicator> part = communicator->split(color, "test");
  EXPECT_EQ(part->name(), "MPI and NCCL");
  const TestStream stream;
  std::vector<float> values{static_cast<float>(communicator->rank()), 1};
  part->all_reduce(on_device(values, stream), ReduceOp::sum, "test");
  part->synchronize("test");
  cudaStreamSynchronize(stream);
  float sum = 0;
  for (int rank = color; rank < world_size(); rank += 2) sum += static_cast<float>(rank);
  EXPECT_EQ(values, (std::vector<float>{sum, static_cast<float>(part->world_size())}));
}

}  // namespace
}  // namespace bertdist
