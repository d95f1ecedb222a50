#pragma once

// What every Communicator must do, with plain MPI as the oracle, for any number of ranks. A test program names its
// subjects in INSTANTIATE_TEST_SUITE_P.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "comm/communicator.h"

namespace bertdist {

inline int mpi_world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

// A kind of communicator, and of the memory that its tensors lie in.
struct Subject {
  std::string name;
  std::function<std::unique_ptr<Communicator>(const CommunicatorOptions&)> make;  // null where it has no such world
  // Calls with a copy of the buffer in the memory, and copies it back. Null: with the buffer itself.
  std::function<void(Communicator&, Buffer, const std::function<void(Buffer)>&)> with_memory = nullptr;
  bool sums_in_rank_order = true;
  bool rounds_sums_once = true;  // of bfloat16 numbers
};

inline void PrintTo(const Subject& subject, std::ostream* stream) {
  *stream << subject.name;
}

template <typename T>
MPI_Datatype mpi_type_of() {
  if constexpr (std::is_same_v<T, float>) return MPI_FLOAT;
  if constexpr (std::is_same_v<T, double>) return MPI_DOUBLE;
  if constexpr (std::is_same_v<T, Bfloat16>) return MPI_UINT16_T;
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

// Eight significant bits; of two that are as near the even one.
inline float rounded_to_bfloat16(float value) {
  int exponent = 0;
  const float fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

using Parameters = std::tuple<Subject, std::size_t>;

class CommunicatorTest : public testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override { communicator_ = subject().make({}); }
  const Subject& subject() const { return std::get<0>(GetParam()); }
  std::size_t size() const { return std::get<1>(GetParam()); }
  int rank() const { return communicator_->rank(); }
  int world_size() const { return communicator_->world_size(); }

  void with_memory(Buffer buffer, const std::function<void(Buffer)>& call) {
    subject().with_memory ? subject().with_memory(*communicator_, buffer, call) : call(buffer);
  }

  void all_reduce(Buffer buffer, ReduceOp op) {
    with_memory(buffer, [&](Buffer there) { communicator_->all_reduce(there, op, "test"); });
  }

  // Floating-point sums in another order differ by a few roundings of the largest value that occurs.
  template <typename T>
  void expect_equal_sums(const std::vector<T>& values, const std::vector<T>& expected) {
    if constexpr (std::is_floating_point_v<T>) {
      if (!subject().sums_in_rank_order) {
        const T tolerance = 8 * std::numeric_limits<T>::epsilon() * static_cast<T>(world_size() * world_size());
        for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], tolerance) << i;
        return;
      }
    }
    EXPECT_EQ(values, expected);
  }

  template <typename T>
  void expect_sum_in_rank_order() {
    std::vector<T> values = random_values<T>(size(), rank());
    std::vector<T> of_all(size() * static_cast<std::size_t>(world_size()));
    const auto count = static_cast<int>(size());
    MPI_Allgather(values.data(), count, mpi_type_of<T>(), of_all.data(), count, mpi_type_of<T>(), MPI_COMM_WORLD);
    std::vector<T> expected(of_all.begin(), of_all.begin() + count);
    for (std::size_t i = size(); i < of_all.size(); ++i) expected[i % size()] += of_all[i];
    all_reduce(buffer_of(std::span(values)), ReduceOp::sum);
    expect_equal_sums(values, expected);
  }

  void expect_sum_of_bfloat16() {
    const auto values_of = [&](int of_rank) {
      std::vector<float> values = random_values<float>(size(), of_rank);
      for (float& value : values) value = rounded_to_bfloat16(value);
      return values;
    };
    std::vector<float> expected(size());
    for (int of_rank = 0; of_rank < world_size(); ++of_rank) {
      const std::vector<float> values = values_of(of_rank);
      for (std::size_t i = 0; i < size(); ++i) expected[i] += values[i];
    }
    std::vector<Bfloat16> sum;
    for (const float value : values_of(rank())) sum.push_back(to_bfloat16(value));
    all_reduce(buffer_of(std::span(sum)), ReduceOp::sum);
    // Values are mostly below 4, and one rounding of a partial sum is half of the last bit.
    const float tolerance = subject().rounds_sums_once ? 0 : static_cast<float>(world_size() * world_size()) / 64;
    for (std::size_t i = 0; i < size(); ++i) {
      ASSERT_NEAR(to_float(sum[i]), rounded_to_bfloat16(expected[i]), tolerance) << i;
    }
  }

  template <typename T>
  void expect_max() {
    std::vector<T> values = random_values<T>(size(), rank());
    std::vector<T> expected(size());
    MPI_Allreduce(values.data(), expected.data(), static_cast<int>(size()), mpi_type_of<T>(), MPI_MAX, MPI_COMM_WORLD);
    all_reduce(buffer_of(std::span(values)), ReduceOp::max);
    EXPECT_EQ(values, expected);
  }

  template <typename T>
  void expect_broadcast(int root) {
    const auto values_of = [&](int of_rank) {
      std::vector<T> values(size());
      std::iota(values.begin(), values.end(), static_cast<T>(1000 * of_rank));
      return values;
    };
    std::vector<T> values = values_of(rank());
    with_memory(buffer_of(std::span(values)), [&](Buffer there) { communicator_->broadcast(there, root, "test"); });
    EXPECT_EQ(values, values_of(root));
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
  expect_sum_of_bfloat16();
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
  all_reduce(buffer_of(std::span(whole)), ReduceOp::sum);
  const std::size_t third = buckets.size() / 3;
  all_reduce(buffer_of(std::span(buckets).first(third)), ReduceOp::sum);
  all_reduce(buffer_of(std::span(buckets).subspan(third)), ReduceOp::sum);
  expect_equal_sums(buckets, whole);
}

TEST_P(CommunicatorTest, QueuedAllReducesAreThoseThatAreDoneAtOnce) {
  if (!communicator_) return;
  const std::unique_ptr<AllReduceQueue> queue = communicator_->make_all_reduce_queue();
  for (int round = 0; round < 3; ++round) {
    std::vector<float> at_once = random_values<float>(size(), rank() + 100 * round);
    std::vector<float> queued = at_once;
    std::vector<std::int64_t> largest{rank()};
    all_reduce(buffer_of(std::span(at_once)), ReduceOp::sum);
    with_memory(buffer_of(std::span(queued)), [&](Buffer there) {
      const std::size_t half = there.count / 2;
      Buffer second = there;
      second.data = static_cast<float*>(there.data) + half;
      second.count -= half;
      there.count = half;
      queue->start(second, ReduceOp::sum, "second half");
      std::this_thread::sleep_for(std::chrono::milliseconds((rank() + round) % 3));
      queue->start(there, ReduceOp::sum, "first half");
      queue->start(buffer_of(std::span(largest)), ReduceOp::max, "largest");
      communicator_->progress().advance();
      queue->finish();
    });
    expect_equal_sums(queued, at_once);
    EXPECT_EQ(largest[0], world_size() - 1);
    communicator_->barrier("test");
  }
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

TEST_P(CommunicatorTest, BroadcastsTensorsOfAllTypes) {
  if (!communicator_) return;
  for (int root = 0; root < world_size(); ++root) {
    expect_broadcast<float>(root);
    expect_broadcast<double>(root);
    expect_broadcast<std::int64_t>(root);
  }
}

TEST_P(CommunicatorTest, CallsOfManyKindsKeepTheirOrder) {
  if (!communicator_) return;
  for (std::int64_t round = 0; round < 20; ++round) {
    std::vector<std::int64_t> values{round, rank()};
    all_reduce(buffer_of(std::span(values)), ReduceOp::max);
    EXPECT_EQ(values, (std::vector<std::int64_t>{round, world_size() - 1}));
    communicator_->barrier("test");
    communicator_->synchronize("test");
    EXPECT_EQ(broadcast_text(*communicator_, std::to_string(round * (rank() + 1)), 0, "test"), std::to_string(round));
    communicator_->progress().enter("work");
    communicator_->progress().advance();
  }
}

}  // namespace bertdist
