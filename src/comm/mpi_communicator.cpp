#include "comm/mpi_communicator.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <exception>
#include <map>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "comm/blocking_call_guard.h"
#include "comm/collective_thread.h"
#include "comm/mpi_type.h"

namespace bertdist {

namespace {

// MPI counts are ints; larger payloads travel in pieces.
constexpr std::size_t kMaxCount = std::size_t{1} << 28;

// Of [ranks, sum.size()], in the order of ranks.
template <typename T>
void sum_parts(const std::vector<T>& parts, std::span<T> sum) {
  std::copy_n(parts.begin(), sum.size(), sum.begin());
  for (std::size_t begin = sum.size(); begin < parts.size(); begin += sum.size()) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += parts[begin + i];
  }
}

void sum_parts(const std::vector<Bfloat16>& parts, std::span<Bfloat16> sum) {
  for (std::size_t i = 0; i < sum.size(); ++i) {
    float total = to_float(parts[i]);
    for (std::size_t at = i + sum.size(); at < parts.size(); at += sum.size()) total += to_float(parts[at]);
    sum[i] = to_bfloat16(total);
  }
}

void check(int status, const PeerWatch& watch) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  throw Error(ExitCode::communication, fmt::format("{}: MPI failed: {}", watch.where(),
                                                   std::string_view(text.data(), static_cast<std::size_t>(length))));
}

// The part of `count` elements that rank `part` of `parts` sums.
std::pair<std::size_t, std::size_t> part_range(std::size_t count, int part, int parts) {
  const auto at = [&](int index) { return count * static_cast<std::size_t>(index) / static_cast<std::size_t>(parts); };
  return {at(part), at(part + 1) - at(part)};
}

std::vector<int> all_ranks(MPI_Comm world) {
  int size = 0;
  MPI_Comm_size(world, &size);
  std::vector<int> ranks(static_cast<std::size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

std::shared_ptr<PeerWatch> make_watch(MPI_Comm world, const CommunicatorOptions& options) {
  int rank = 0;
  MPI_Comm_rank(world, &rank);
  const BlockingCallGuard guard(options.timeout, rank, "the start of communication");
  return std::make_shared<PeerWatch>(world, options);
}

void require_host(const Buffer& buffer) {
  if (buffer.memory != Memory::host) throw Error(ExitCode::internal, "MPI was given memory of a device");
}

constexpr std::uint64_t kWorldId = 1;

}  // namespace

// From the moment that this rank says where it is until the collective has ended.
class MpiCommunicator::Call {
 public:
  Call(MpiCommunicator& communicator, const CollectiveSite& site) : communicator_(communicator) {
    communicator.watch_->enter_collective(communicator.id_, ++communicator.num_calls_, site);
    communicator.require_same_site(site);
  }
  ~Call() {
    // After a failure this rank is still where it failed.
    if (std::uncaught_exceptions() == exceptions_) communicator_.watch_->leave_collective();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  MpiCommunicator& communicator_;
  const int exceptions_ = std::uncaught_exceptions();
};

MpiCommunicator::MpiCommunicator(MPI_Comm world, const CommunicatorOptions& options)
    : MpiCommunicator(world, kWorldId, all_ranks(world), make_watch(world, options)) {}

MpiCommunicator::MpiCommunicator(MPI_Comm parent, std::uint64_t id, std::vector<int> members,
                                 std::shared_ptr<PeerWatch> watch)
    : watch_(std::move(watch)), id_(id), members_(std::move(members)) {
  MPI_Comm_rank(parent, &rank_);
  const BlockingCallGuard guard(watch_->timeout(), watch_->rank(), "the making of a communicator");
  check(MPI_Comm_dup(parent, &comm_), *watch_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm host = MPI_COMM_NULL;
  check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host), *watch_);
  MPI_Comm_rank(host, &local_rank_);
  MPI_Comm_size(host, &local_world_size_);
  MPI_Comm_free(&host);
  watch_->note_part();
}

MpiCommunicator::~MpiCommunicator() {
  // MPI_Comm_free is collective: after a failure the peers may never call it, and the job is about to be aborted.
  if (std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}

void MpiCommunicator::wait(MPI_Request& request, Phase phase) {
  constexpr int kSpins = 1000;
  for (int polls = 0;; ++polls) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), *watch_);
    if (done != 0) break;
    const bool computes = watch_->main_thread_computes();
    if (polls < kSpins && !computes) continue;
    const bool is_long = watch_->look(members_);
    // With more ranks than cores a spinning waiter would keep the peer it waits for off the processor. Where a peer, or
    // this rank's main thread, works for long, its time matters more than when this rank goes on; a payload moves only
    // while it is polled.
    if (computes || (is_long && phase == Phase::arrival)) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    } else {
      std::this_thread::yield();
    }
  }
  watch_->note_part();
}

void MpiCommunicator::require_same_site(const CollectiveSite& site) {
  const std::uint64_t hash = site.hash();
  const std::uint64_t count = site.is_uneven() ? 0 : site.count;
  // max(x) and max(~x) = ~min(x): equal on all ranks exactly when the maximum and the minimum agree.
  std::array<std::uint64_t, 4> header{hash, ~hash, count, ~count};
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallreduce(MPI_IN_PLACE, header.data(), header.size(), MPI_UINT64_T, MPI_MAX, comm_, &request), *watch_);
  wait(request, Phase::arrival);
  if (header[0] != ~header[1] || header[2] != ~header[3]) fail_not_same(site);
}

// All ranks know that they differ, so all come here and tell each other where they are.
void MpiCommunicator::fail_not_same(const CollectiveSite& site) {
  std::vector<CollectiveSite> sites(members_.size());
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallgather(&site, sizeof(site), MPI_BYTE, sites.data(), sizeof(site), MPI_BYTE, comm_, &request), *watch_);
  wait(request);
  std::map<std::string, std::vector<std::size_t>> ranks_by_call;
  for (std::size_t rank = 0; rank < sites.size(); ++rank) ranks_by_call[sites[rank].to_string()].push_back(rank);
  const auto usual = std::max_element(ranks_by_call.begin(), ranks_by_call.end(),
                                      [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  const bool has_usual = 2 * usual->second.size() > members_.size();
  std::string calls;
  for (const auto& [call, ranks] : ranks_by_call) {
    if (has_usual && call == usual->first) continue;
    std::string places;
    for (const std::size_t rank : ranks) places += (places.empty() ? "" : ", ") + watch_->place_of(members_[rank]);
    calls += fmt::format("{}{} in {}", calls.empty() ? "" : "; ", places, call);
  }
  if (has_usual) calls += fmt::format("; all others in {}", usual->first);
  throw Error(ExitCode::peer, fmt::format("{}: the ranks are not in the same collective: {}", watch_->where(), calls),
              "this is a defect, or the ranks run different versions of bertdist");
}

template <typename T>
void MpiCommunicator::sum_in_rank_order(std::span<T> values) {
  const std::size_t ranks = members_.size();
  std::vector<int> counts(ranks);
  std::vector<int> offsets(ranks);
  for (int rank = 0; rank < world_size(); ++rank) {
    const auto [offset, count] = part_range(values.size(), rank, world_size());
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
        *watch_);
  wait(request);
  sum_parts(received, values.subspan(static_cast<std::size_t>(offsets[static_cast<std::size_t>(rank_)]), mine));
  watch_->note_part();
  check(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts.data(), offsets.data(), mpi_type<T>(),
                        comm_, &request),
        *watch_);
  wait(request);
}

void MpiCommunicator::sum_in_rank_order(Buffer buffer) {
  const auto in_pieces = [&]<typename T>(T* data) {
    for (std::size_t begin = 0; begin < buffer.count; begin += kMaxCount) {
      sum_in_rank_order(std::span<T>(data + begin, std::min(kMaxCount, buffer.count - begin)));
    }
  };
  switch (buffer.dtype) {
    case DType::float32:
      return in_pieces(static_cast<float*>(buffer.data));
    case DType::float64:
      return in_pieces(static_cast<double*>(buffer.data));
    case DType::int64:
      return in_pieces(static_cast<std::int64_t*>(buffer.data));
    case DType::bfloat16:
      return in_pieces(static_cast<Bfloat16*>(buffer.data));
  }
}

void MpiCommunicator::max_in_place(Buffer buffer) {
  const MPI_Datatype type = type_with_order(buffer.dtype);
  const std::size_t element_size = size_of(buffer.dtype);
  for (std::size_t begin = 0; begin < buffer.count; begin += kMaxCount) {
    auto* const data = static_cast<std::byte*>(buffer.data) + begin * element_size;
    const auto count = static_cast<int>(std::min(kMaxCount, buffer.count - begin));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Iallreduce(MPI_IN_PLACE, data, count, type, MPI_MAX, comm_, &request), *watch_);
    wait(request);
  }
}

void MpiCommunicator::broadcast_from(int root, std::span<std::byte> bytes) {
  for (std::size_t begin = 0; begin < bytes.size(); begin += kMaxCount) {
    const auto count = static_cast<int>(std::min(kMaxCount, bytes.size() - begin));
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibcast(bytes.data() + begin, count, MPI_BYTE, root, comm_, &request), *watch_);
    wait(request);
  }
}

std::vector<std::uint64_t> MpiCommunicator::exchange_sizes(std::uint64_t size) {
  std::vector<std::uint64_t> sizes(members_.size());
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallgather(&size, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, comm_, &request), *watch_);
  wait(request);
  return sizes;
}

void MpiCommunicator::all_reduce(Buffer buffer, ReduceOp op, std::string_view what) {
  require_host(buffer);
  const Call call(*this, {.call = CollectiveCall::all_reduce,
                          .dtype = buffer.dtype,
                          .op = op,
                          .count = buffer.count,
                          .what = ShortText(what)});
  op == ReduceOp::sum ? sum_in_rank_order(buffer) : max_in_place(buffer);
}

namespace {

class MpiAllReduces final : public AllReduceQueue {
 public:
  explicit MpiAllReduces(MpiCommunicator& communicator) : communicator_(communicator), thread_(communicator.watch()) {}

  void start(Buffer buffer, ReduceOp op, std::string_view what) override {
    thread_.push([this, buffer, op, name = std::string(what)] { communicator_.all_reduce(buffer, op, name); });
  }
  void finish() override { thread_.finish(); }

 private:
  MpiCommunicator& communicator_;
  CollectiveThread thread_;
};

}  // namespace

std::unique_ptr<AllReduceQueue> MpiCommunicator::make_all_reduce_queue() {
  return std::make_unique<MpiAllReduces>(*this);
}

void MpiCommunicator::broadcast(std::span<std::byte> bytes, int root, std::string_view what) {
  const Call call(*this,
                  {.call = CollectiveCall::broadcast, .root = root, .count = bytes.size(), .what = ShortText(what)});
  broadcast_from(root, bytes);
}

void MpiCommunicator::broadcast(Buffer buffer, int root, std::string_view what) {
  require_host(buffer);
  broadcast(std::span(static_cast<std::byte*>(buffer.data), buffer.count * size_of(buffer.dtype)), root, what);
}

std::vector<Bytes> MpiCommunicator::gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) {
  constexpr int kTag = 1;
  const Call call(
      *this, {.call = CollectiveCall::gather_to_root, .root = root, .count = bytes.size(), .what = ShortText(what)});
  const std::vector<std::uint64_t> sizes = exchange_sizes(bytes.size());
  std::vector<Bytes> gathered;
  if (rank_ != root) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += kMaxCount) {
      const auto count = static_cast<int>(std::min(kMaxCount, bytes.size() - begin));
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Isend(bytes.data() + begin, count, MPI_BYTE, root, kTag, comm_, &request), *watch_);
      wait(request);
    }
    return gathered;
  }
  for (int source = 0; source < world_size(); ++source) {
    Bytes& part = gathered.emplace_back(sizes[static_cast<std::size_t>(source)]);
    if (source == root) {
      std::copy(bytes.begin(), bytes.end(), part.begin());
      continue;
    }
    for (std::size_t begin = 0; begin < part.size(); begin += kMaxCount) {
      const auto count = static_cast<int>(std::min(kMaxCount, part.size() - begin));
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Irecv(part.data() + begin, count, MPI_BYTE, source, kTag, comm_, &request), *watch_);
      wait(request);
    }
  }
  return gathered;
}

std::vector<Bytes> MpiCommunicator::all_gather(std::span<const std::byte> bytes, std::string_view what) {
  const Call call(*this, {.call = CollectiveCall::all_gather, .count = bytes.size(), .what = ShortText(what)});
  const std::vector<std::uint64_t> sizes = exchange_sizes(bytes.size());
  std::vector<Bytes> gathered;
  for (int root = 0; root < world_size(); ++root) {
    Bytes& part = gathered.emplace_back(sizes[static_cast<std::size_t>(root)]);
    if (root == rank_) std::copy(bytes.begin(), bytes.end(), part.begin());
    broadcast_from(root, part);
  }
  return gathered;
}

void MpiCommunicator::barrier(std::string_view what) {
  const Call call(*this, {.call = CollectiveCall::barrier, .what = ShortText(what)});
}

void MpiCommunicator::run_collective(const CollectiveSite& site, const std::function<void(const Look&)>& body) {
  const Call call(*this, site);
  body([this] { watch_->look(members_); });
}

std::unique_ptr<MpiCommunicator> MpiCommunicator::split_mpi(int color, std::string_view what) {
  const Call call(*this, {.call = CollectiveCall::split, .what = ShortText(what)});
  std::vector<std::int64_t> colors(members_.size());
  const std::int64_t mine = color;
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Iallgather(&mine, 1, MPI_INT64_T, colors.data(), 1, MPI_INT64_T, comm_, &request), *watch_);
  wait(request);
  std::vector<int> members;
  for (std::size_t rank = 0; rank < members_.size(); ++rank) {
    if (colors[rank] == mine) members.push_back(members_[rank]);
  }

  const BlockingCallGuard guard(watch_->timeout(), watch_->rank(), "MPI_Comm_split");
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(comm_, color, rank_, &part), *watch_);
  const std::uint64_t id = ((id_ * 0x100000001b3 + num_calls_) * 0x100000001b3 + static_cast<std::uint64_t>(color)) | 2;
  std::unique_ptr<MpiCommunicator> communicator(new MpiCommunicator(part, id, std::move(members), watch_));
  MPI_Comm_free(&part);
  return communicator;
}

void MpiCommunicator::abort(int exit_code) {
  if (exit_code == static_cast<int>(ExitCode::peer)) watch_->let_others_tell();
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace bertdist
