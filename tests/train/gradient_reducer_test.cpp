// GradientReducer over MPI, or, in the program that has the stand-in, over NcclCommunicator with gradients in "device"
// memory.
#include "train/gradient_reducer.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "comm/mpi_communicator.h"
#include "model/word_embedding.h"
#include "train/tensor_bytes.h"

#ifdef BERTDIST_NCCL_STAND_IN
#include "comm/device_memory.h"
#include "comm/nccl/nccl_communicator.h"
#endif

namespace bertdist {
namespace {

constexpr std::int64_t kHidden = 24;
constexpr std::int64_t kLayers = 4;
constexpr std::int64_t kVocabulary = 60;

// An embedding, layers with biases, a head: the names and the order that BERT's parameters have. The same on all ranks.
struct Network {
  std::vector<TrainableParameter> parameters;

  explicit Network(bool with_embedding = true) {
    at::manual_seed(1);
    if (with_embedding) add("bert.embeddings.word_embeddings.weight", {kVocabulary, kHidden});
    for (std::int64_t layer = 0; layer < kLayers; ++layer) {
      add("bert.encoder.layer." + std::to_string(layer) + ".weight", {kHidden, kHidden});
      add("bert.encoder.layer." + std::to_string(layer) + ".bias", {kHidden});
    }
    add("classifier.weight", {2, kHidden});
  }
  void add(const std::string& name, at::IntArrayRef shape) {
    parameters.push_back({name, (0.3 * at::randn(shape)).detach().requires_grad_(true)});
  }
  const at::Tensor& tensor(std::size_t i) const { return parameters[i].tensor; }

  // `on_backward_in_first_layer` runs on the main thread when backward comes to the first layer, the others being done.
  void backward(
      int seed, const std::function<void()>& on_backward_in_first_layer = [] {}) const {
    at::manual_seed(static_cast<std::uint64_t>(seed));
    const bool has_embedding = parameters.size() == 2 * kLayers + 2;
    std::size_t i = 0;
    at::Tensor hidden = has_embedding ? word_embedding(tensor(i++), at::randint(0, kVocabulary, {7}, at::kLong), 0)
                                      : at::randn({7, kHidden});
    for (std::int64_t layer = 0; layer < kLayers; ++layer, i += 2) {
      hidden = at::linear(hidden, tensor(i), tensor(i + 1)).tanh();
      if (layer == 0) {
        hidden.register_hook([=](const at::Tensor&) { on_backward_in_first_layer(); });
      }
    }
    at::linear(hidden, tensor(i)).square().sum().backward();
  }
};

// The communicator, and a view of a tensor's memory as a GPU's, where that is the subject.
#ifdef BERTDIST_NCCL_STAND_IN
struct Subject {
  std::unique_ptr<Communicator> communicator = NcclCommunicator::of_world(MPI_COMM_WORLD, {});
  TestStream stream;
  Buffer buffer(const at::Tensor& tensor) {
    Buffer buffer = buffer_of(tensor);
    buffer.memory = Memory::device;
    buffer.stream = stream;
    return buffer;
  }
  void synchronize() {
    communicator->synchronize("test");
    check_cuda(cudaStreamSynchronize(stream), "test");
  }
};
#else
struct Subject {
  std::unique_ptr<Communicator> communicator = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, CommunicatorOptions{});
  Buffer buffer(const at::Tensor& tensor) { return buffer_of(tensor); }
  void synchronize() {}
};
#endif

std::vector<float> values_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), tensor.data_ptr<float>() + tensor.numel()};
}

constexpr double kSmall = 0.003;  // MiB: a layer and some

class GradientReducerTest : public testing::Test {
 protected:
  // More ranks than cores: threads would wait for each other.
  GradientReducerTest() { at::set_num_threads(1); }

  int rank() const { return subject_.communicator->rank(); }
  int world_size() const { return subject_.communicator->world_size(); }

  // Steps of some backwards a rank, the last of which may be overlapped. Returns what each step summed.
  std::vector<std::vector<float>> run(const GradientReducerOptions& options, int num_backwards,
                                      bool last_rank_has_none = false) {
    const Network network;
    FlatParameters parameters(network.parameters);
    GradientReducer reducer(parameters, subject_.buffer(parameters.reduced()), *subject_.communicator, options);
    std::vector<std::vector<float>> sums;
    for (int step = 0; step < 3; ++step) {
      parameters.reduced().zero_();
      const int count = last_rank_has_none && rank() == world_size() - 1 ? 0 : num_backwards;
      for (int i = 0; i < count; ++i) {
        if (i == count - 1) reducer.begin();
        network.backward(100 * rank() + 10 * step + i);
      }
      parameters.reduced()[-1] = rank() + 1;
      mine_ = values_of(parameters.reduced());
      reducer.finish();
      subject_.synchronize();
      sums.push_back(values_of(parameters.reduced()));
    }
    return sums;
  }

  // Of what this rank had in the last step, with plain MPI.
  std::vector<float> sum_in_rank_order() const {
    std::vector<float> all(mine_.size() * static_cast<std::size_t>(world_size()));
    const auto count = static_cast<int>(mine_.size());
    MPI_Allgather(mine_.data(), count, MPI_FLOAT, all.data(), count, MPI_FLOAT, MPI_COMM_WORLD);
    std::vector<float> sum(all.begin(), all.begin() + count);
    for (std::size_t i = mine_.size(); i < all.size(); ++i) sum[i % mine_.size()] += all[i];
    return sum;
  }

  Subject subject_;
  std::vector<float> mine_;
};

TEST_F(GradientReducerTest, OneBufferBucketsAndOverlapGiveTheSameBits) {
  for (const bool last_rank_has_none : {false, true}) {
    for (const int num_backwards : {1, 3}) {
      const auto one_buffer = run({.ddp_bucket_cap_mb = 0}, num_backwards, last_rank_has_none);
      EXPECT_EQ(one_buffer.back(), sum_in_rank_order());
      EXPECT_EQ(one_buffer.back().back(), static_cast<float>(world_size() * (world_size() + 1) / 2));
      EXPECT_EQ(run({.ddp_bucket_cap_mb = kSmall}, num_backwards, last_rank_has_none), one_buffer);
      EXPECT_EQ(run({.ddp_bucket_cap_mb = kSmall, .overlap_grad_reduce = true}, num_backwards, last_rank_has_none),
                one_buffer);
    }
  }
}

#ifndef BERTDIST_NCCL_STAND_IN
// Not with the stand-in, of whose streams ATen's rounding of these CPU tensors knows nothing.
TEST_F(GradientReducerTest, InBfloat16OnlyBiasesAndWhatIsBehindThemAreExact) {
  if (world_size() == 1) {
    EXPECT_EQ(run({.ddp_bucket_cap_mb = 0, .grad_reduce_in_bf16 = true}, 1), run({.ddp_bucket_cap_mb = 0}, 1));
    return;
  }
  const Network network;
  const std::int64_t num_matrices = FlatParameters(network.parameters).num_decayed_elements();
  const auto exact = run({.ddp_bucket_cap_mb = 0}, 2);
  const auto sums = run({.ddp_bucket_cap_mb = 0, .grad_reduce_in_bf16 = true}, 2);
  const std::vector<float> sum_of_floats = sum_in_rank_order();
  // mine_ as it travels
  std::copy_n(values_of(at::tensor(mine_).to(at::kBFloat16).to(at::kFloat)).begin(), num_matrices, mine_.begin());
  const std::vector<float> expected = values_of(at::tensor(sum_in_rank_order()).to(at::kBFloat16).to(at::kFloat));
  std::size_t num_rounded = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (i >= static_cast<std::size_t>(num_matrices)) {
      ASSERT_EQ(sums.back()[i], sum_of_floats[i]) << i;
      continue;
    }
    ASSERT_EQ(sums.back()[i], expected[i]) << i;
    num_rounded += sums.back()[i] != exact.back()[i];
  }
  EXPECT_GT(num_rounded, static_cast<std::size_t>(num_matrices) / 4);
  for (const bool overlap : {false, true}) {
    EXPECT_EQ(run({.ddp_bucket_cap_mb = kSmall, .overlap_grad_reduce = overlap, .grad_reduce_in_bf16 = true}, 2), sums);
  }
}
#endif

TEST_F(GradientReducerTest, WhatStaysFloat32IsABucketOfItsOwn) {
  const Network network;
  const FlatParameters parameters(network.parameters);
  for (const std::int64_t cap : {std::int64_t{0}, std::int64_t{1} << 30}) {
    const std::vector<GradientBucket> buckets = plan_gradient_buckets(parameters, cap, /*apart=*/true);
    ASSERT_EQ(buckets.size(), 2U);
    EXPECT_EQ(buckets[0].count, parameters.num_decayed_elements());
    EXPECT_EQ(buckets[1].count, kLayers * kHidden + 2);
    EXPECT_EQ(buckets[0].parameters.size(), 2U + kLayers);
  }
}

TEST_F(GradientReducerTest, EachElementIsInOneBucketAndTheLastLayersComeFirst) {
  const Network network;
  const FlatParameters parameters(network.parameters);
  const auto total = parameters.reduced().numel();
  const std::vector<GradientBucket> buckets = plan_gradient_buckets(parameters, 3000);
  ASSERT_GE(buckets.size(), 4U);
  std::vector<int> covered(static_cast<std::size_t>(total));
  std::vector<int> held(parameters.slices().size());
  for (const GradientBucket& bucket : buckets) {
    for (std::int64_t i = 0; i < bucket.count; ++i) ++covered[static_cast<std::size_t>(bucket.offset + i)];
    for (const std::size_t parameter : bucket.parameters) {
      const FlatParameters::Slice& slice = parameters.slices()[parameter];
      EXPECT_TRUE(slice.offset >= bucket.offset && slice.offset + slice.numel <= bucket.offset + bucket.count);
      ++held[parameter];
    }
  }
  EXPECT_EQ(covered, std::vector<int>(covered.size(), 1));
  EXPECT_EQ(held, std::vector<int>(held.size(), 1));
  EXPECT_EQ(parameters.slices()[buckets.front().parameters.front()].name, "classifier.weight");
  EXPECT_EQ(parameters.slices()[buckets[buckets.size() - 2].parameters.back()].name,
            "bert.embeddings.word_embeddings.weight");
  EXPECT_EQ(buckets.back().count, kLayers * kHidden + 2) << "biases, and what is behind the gradients";
  for (const std::int64_t cap : {std::int64_t{0}, 4 * total}) {
    ASSERT_EQ(plan_gradient_buckets(parameters, cap).size(), 1U);
    EXPECT_EQ(plan_gradient_buckets(parameters, cap)[0].count, total);
  }
}

TEST_F(GradientReducerTest, TheFirstBucketIsClosedAtOneMebibyte) {
  std::vector<TrainableParameter> matrices;
  for (int i = 0; i < 12; ++i) {
    matrices.push_back(
        {"layer." + std::to_string(i) + ".weight", at::randn({512, 512}).requires_grad_(true)});  // 1 MiB
  }
  const FlatParameters parameters(matrices);
  std::vector<std::int64_t> counts;
  for (const GradientBucket& bucket : plan_gradient_buckets(parameters, 5 << 20)) counts.push_back(bucket.count >> 18);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{1, 5, 5, 1, 0}));
}

// While all main threads are in the backward of the first layer, the last layers' sums arrive.
TEST_F(GradientReducerTest, BucketsAreSummedWhileBackwardGoesOn) {
  if (world_size() == 1) return;
  const Network network;
  FlatParameters parameters(network.parameters);
  GradientReducer reducer(parameters, subject_.buffer(parameters.reduced()), *subject_.communicator,
                          {.ddp_bucket_cap_mb = kSmall, .overlap_grad_reduce = true});
  network.backward(5);
  const GradientBucket& first = reducer.buckets().front();
  float& probe = parameters.reduced().data_ptr<float>()[first.offset];
  const float expected = probe * static_cast<float>(world_size());  // exact for 2 and 4, and near for others
  parameters.reduced().zero_();
  float seen = 0;
  reducer.begin();
  network.backward(5, [&] {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    do {
      std::this_thread::yield();
      seen = std::atomic_ref(probe).load();
    } while (std::abs(seen - expected) > 1e-5F * std::abs(expected) && std::chrono::steady_clock::now() < deadline);
  });
  EXPECT_NEAR(seen, expected, 1e-5F * std::abs(expected));
  EXPECT_NE(expected, 0);
  reducer.finish();
  subject_.synchronize();
}

TEST_F(GradientReducerTest, RanksThatDifferInTheOrderOfBucketsFindOut) {
  if (world_size() == 1) return;
  Network network(/*with_embedding=*/false);
  if (rank() == 1) std::swap(network.parameters[0], network.parameters[2]);
  FlatParameters parameters(network.parameters);
  GradientReducer reducer(parameters, subject_.buffer(parameters.reduced()), *subject_.communicator,
                          {.ddp_bucket_cap_mb = kSmall, .overlap_grad_reduce = true});
  EXPECT_THROW(require_same_on_all_ranks(*subject_.communicator, reducer.order(), "the order of buckets"), Error);
}

// Without that comparison, when the first bucket that differs is about to move.
TEST_F(GradientReducerTest, BucketsThatDifferDoNotMove) {
  if (world_size() == 1) return;
  const Network network;
  FlatParameters parameters(network.parameters);
  GradientReducer reducer(parameters, subject_.buffer(parameters.reduced()), *subject_.communicator,
                          {.ddp_bucket_cap_mb = rank() == 1 ? 2 * kSmall : kSmall, .overlap_grad_reduce = true});
  try {
    reducer.begin();
    network.backward(rank());
    reducer.finish();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::peer);
    EXPECT_THAT(error.what(), testing::HasSubstr("the ranks are not in the same collective"));
    EXPECT_THAT(error.what(), testing::HasSubstr("all_reduce of gradient bucket 1 of "));
  }
}

TEST_F(GradientReducerTest, AGradientThatIsMadeTwiceIsADefect) {
  if (world_size() == 1) return;
  const Network network;
  FlatParameters parameters(network.parameters);
  const Buffer buffer = subject_.buffer(parameters.reduced());
  GradientReducer reducer(parameters, buffer, *subject_.communicator,
                          {.ddp_bucket_cap_mb = kSmall, .overlap_grad_reduce = true});
  reducer.begin();
  network.backward(1);
  EXPECT_THROW(network.backward(1), Error);
  reducer.finish();
  subject_.synchronize();
}

TEST_F(GradientReducerTest, ParametersForgetAReducerThatIsGone) {
  const Network network;
  FlatParameters parameters(network.parameters);
  {
    GradientReducer reducer(parameters, subject_.buffer(parameters.reduced()), *subject_.communicator,
                            {.ddp_bucket_cap_mb = kSmall, .overlap_grad_reduce = true});
    reducer.begin();
    network.backward(1);
    reducer.finish();
    subject_.synchronize();
  }
  network.backward(1);
}

}  // namespace
}  // namespace bertdist
