#include "comm/mpi_communicator.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <climits>
#include <numeric>
#include <thread>

#include "base/content_hash.h"
#include "base/error.h"

namespace bertdist {

namespace {

// MPI counts are ints; larger payloads travel in pieces.
constexpr std::size_t kMaxCount = std::size_t{1} << 28;

template <typename T>
MPI_Datatype mpi_type();
template <>
MPI_Datatype mpi_type<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype mpi_type<std::int64_t>() {
  return MPI_INT64_T;
}

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return mpi_type<float>();
    case DType::float64:
      return mpi_type<double>();
    case DType::int64:
      return mpi_type<std::int64_t>();
  }
  throw Error(ExitCode::internal, "unknown DType");
}

void check(int status, std::string_view call, std::string_view what) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  throw Error(ExitCode::communication,
              fmt::format("{} of {} failed: {}", call, what, std::string(text.data(), length)));
}

// The part of `count` elements that rank `part` of `parts` sums.
std::pair<std::size_t, std::size_t> part_range(std::size_t count, int part, int parts) {
  const auto at = [&](int index) { return count * static_cast<std::size_t>(index) / static_cast<std::size_t>(parts); };
  return {at(part), at(part + 1) - at(part)};
}

}  // namespace

MpiCommunicator::MpiCommunicator(MPI_Comm parent, const CommunicatorOptions& options) : timeout_(options.timeout) {
  check(MPI_Comm_dup(parent, &comm_), "MPI_Comm_dup", "the world");
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &world_size_);
  MPI_Comm host = MPI_COMM_NULL;
  check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host), "MPI_Comm_split_type", "hosts");
  MPI_Comm_rank(host, &local_rank_);
  MPI_Comm_size(host, &local_world_size_);
  MPI_Comm_free(&host);
}

MpiCommunicator::~MpiCommunicator() {
  // MPI_Comm_free is collective: after a failure the peers may never call it, and the job is about to be aborted.
  if (std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}

void MpiCommunicator::wait(MPI_Request& request, std::string_view call, std::string_view what) {
  const auto start = std::chrono::steady_clock::now();
  for (int polls = 0;; ++polls) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), call, what);
    if (done != 0) return;
    if (polls < 1000) continue;
    // With more ranks than cores a spinning waiter would keep the peer it waits for off the processor.
    std::this_thread::yield();
    if (polls % 1000 == 0 && std::chrono::steady_clock::now() - start > timeout_) {
      throw Error(ExitCode::communication,
                  fmt::format("waited more than {} s for the other ranks in {} of {}", timeout_.count(), call, what),
                  "a peer stopped or hangs; its own messages, if any, say why. comm_timeout_s sets the deadline");
    }
  }
}

void MpiCommunicator::require_same_call(std::string_view call, std::string_view what, std::uint64_t size) {
  const std::uint64_t id = std::hash<std::string_view>{}(call) ^ (std::hash<std::string_view>{}(what) << 1U);
  // max(x) and max(~x) = ~min(x): equal on all ranks exactly when the maximum and the minimum agree.
  std::array<std::uint64_t, 4> header{id, ~id, size, ~size};
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallreduce(MPI_IN_PLACE, header.data(), header.size(), MPI_UINT64_T, MPI_MAX, comm_, &request), call, what);
  wait(request, call, what);
  if (header[0] == ~header[1] && header[2] == ~header[3]) return;
  throw Error(
      ExitCode::communication,
      fmt::format("the ranks are not in the same call: this one is in {} of {} with {} elements", call, what, size),
      "this is a defect, or the ranks run different versions of bertdist");
}

template <typename T>
void MpiCommunicator::sum_in_rank_order(std::span<T> values, std::string_view what) {
  const auto ranks = static_cast<std::size_t>(world_size_);
  std::vector<int> counts(ranks);
  std::vector<int> offsets(ranks);
  for (int rank = 0; rank < world_size_; ++rank) {
    const auto [offset, count] = part_range(values.size(), rank, world_size_);
    offsets[static_cast<std::size_t>(rank)] = static_cast<int>(offset);
    counts[static_cast<std::size_t>(rank)] = static_cast<int>(count);
  }
  const auto mine = static_cast<std::size_t>(counts[static_cast<std::size_t>(rank_)]);
  std::vector<int> received_counts(ranks, static_cast<int>(mine));
  std::vector<int> received_offsets(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) received_offsets[rank] = static_cast<int>(rank * mine);
  std::vector<T> received(ranks * mine);

  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Ialltoallv(values.data(), counts.data(), offsets.data(), mpi_type<T>(), received.data(),
                       received_counts.data(), received_offsets.data(), mpi_type<T>(), comm_, &request),
        "all_reduce", what);
  wait(request, "all_reduce", what);
  T* sum = values.data() + offsets[static_cast<std::size_t>(rank_)];
  std::copy_n(received.data(), mine, sum);
  for (std::size_t rank = 1; rank < ranks; ++rank) {
    const T* part = received.data() + rank * mine;
    for (std::size_t i = 0; i < mine; ++i) sum[i] += part[i];
  }
  check(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts.data(), offsets.data(), mpi_type<T>(),
                        comm_, &request),
        "all_reduce", what);
  wait(request, "all_reduce", what);
}

void MpiCommunicator::sum_in_rank_order(Buffer buffer, std::string_view what) {
  const auto in_pieces = [&]<typename T>(T* data) {
    for (std::size_t begin = 0; begin < buffer.count; begin += kMaxCount) {
      sum_in_rank_order(std::span<T>(data + begin, std::min(kMaxCount, buffer.count - begin)), what);
    }
  };
  switch (buffer.dtype) {
    case DType::float32:
      return in_pieces(static_cast<float*>(buffer.data));
    case DType::float64:
      return in_pieces(static_cast<double*>(buffer.data));
    case DType::int64:
      return in_pieces(static_cast<std::int64_t*>(buffer.data));
  }
}

void MpiCommunicator::all_reduce(Buffer buffer, ReduceOp op, std::string_view what) {
  require_same_call(op == ReduceOp::sum ? "all_reduce(sum)" : "all_reduce(max)", what, buffer.count);
  if (op == ReduceOp::sum) return sum_in_rank_order(buffer, what);
  if (buffer.count > kMaxCount) throw Error(ExitCode::internal, "all_reduce(max) of more than 2^28 elements");
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallreduce(MPI_IN_PLACE, buffer.data, static_cast<int>(buffer.count), mpi_type(buffer.dtype), MPI_MAX,
                       comm_, &request),
        "all_reduce", what);
  wait(request, "all_reduce", what);
}

void MpiCommunicator::broadcast(std::span<std::byte> bytes, int root, std::string_view what) {
  require_same_call("broadcast", what, bytes.size());
  for (std::size_t begin = 0; begin < bytes.size(); begin += kMaxCount) {
    const auto count = static_cast<int>(std::min(kMaxCount, bytes.size() - begin));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibcast(bytes.data() + begin, count, MPI_BYTE, root, comm_, &request), "broadcast", what);
    wait(request, "broadcast", what);
  }
}

std::vector<std::uint64_t> MpiCommunicator::exchange_sizes(std::uint64_t size, std::string_view call,
                                                           std::string_view what) {
  require_same_call(call, what, 0);
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(world_size_));
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallgather(&size, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, comm_, &request), call, what);
  wait(request, call, what);
  return sizes;
}

std::vector<Bytes> MpiCommunicator::gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) {
  constexpr int kTag = 1;
  const std::vector<std::uint64_t> sizes = exchange_sizes(bytes.size(), "gather_to_root", what);
  std::vector<Bytes> gathered;
  if (rank_ != root) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += kMaxCount) {
      const auto count = static_cast<int>(std::min(kMaxCount, bytes.size() - begin));
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Isend(bytes.data() + begin, count, MPI_BYTE, root, kTag, comm_, &request), "gather_to_root", what);
      wait(request, "gather_to_root", what);
    }
    return gathered;
  }
  for (int source = 0; source < world_size_; ++source) {
    Bytes& part = gathered.emplace_back(sizes[static_cast<std::size_t>(source)]);
    if (source == root) {
      std::copy(bytes.begin(), bytes.end(), part.begin());
      continue;
    }
    for (std::size_t begin = 0; begin < part.size(); begin += kMaxCount) {
      const auto count = static_cast<int>(std::min(kMaxCount, part.size() - begin));
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Irecv(part.data() + begin, count, MPI_BYTE, source, kTag, comm_, &request), "gather_to_root", what);
      wait(request, "gather_to_root", what);
    }
  }
  return gathered;
}

std::vector<Bytes> MpiCommunicator::all_gather(std::span<const std::byte> bytes, std::string_view what) {
  const std::vector<std::uint64_t> sizes = exchange_sizes(bytes.size(), "all_gather", what);
  std::vector<Bytes> gathered;
  for (int root = 0; root < world_size_; ++root) {
    Bytes& part = gathered.emplace_back(sizes[static_cast<std::size_t>(root)]);
    if (root == rank_) std::copy(bytes.begin(), bytes.end(), part.begin());
    for (std::size_t begin = 0; begin < part.size(); begin += kMaxCount) {
      const auto count = static_cast<int>(std::min(kMaxCount, part.size() - begin));
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Ibcast(part.data() + begin, count, MPI_BYTE, root, comm_, &request), "all_gather", what);
      wait(request, "all_gather", what);
    }
  }
  return gathered;
}

void MpiCommunicator::barrier(std::string_view what) {
  require_same_call("barrier", what, 0);
}

std::unique_ptr<Communicator> MpiCommunicator::split(int color, std::string_view what) {
  require_same_call("split", what, 0);
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(comm_, color, rank_, &part), "split", what);
  auto communicator = std::make_unique<MpiCommunicator>(part, CommunicatorOptions{.timeout = timeout_});
  MPI_Comm_free(&part);
  return communicator;
}

void MpiCommunicator::abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace bertdist
