#include "comm/nccl/nccl_communicator.h"

#include <fmt/format.h>

#include <array>
#include <set>
#include <utility>

#include "base/error.h"
#include "comm/collective_thread.h"

namespace bertdist {

namespace {

constexpr std::chrono::milliseconds kWatchEvery{5};
constexpr std::chrono::seconds kTimeForCallUnderWay{1};
constexpr std::chrono::seconds kTimeToFinalize{5};
// In which a peer's death, which NCCL may meet first as an error of its own, becomes known by name.
constexpr std::chrono::milliseconds kTimeForVerdict{1000};

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return ncclFloat32;
    case DType::float64:
      return ncclFloat64;
    case DType::int64:
      return ncclInt64;
    case DType::bfloat16:
      return ncclBfloat16;
  }
  throw Error(ExitCode::internal, "unknown DType");
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::sum ? ncclSum : ncclMax;
}

[[noreturn]] void throw_nccl(std::string_view what, std::string_view text) {
  throw Error(ExitCode::communication, fmt::format("{}: NCCL failed: {}", what, text),
              "NCCL_DEBUG=INFO makes NCCL say more");
}

}  // namespace

NcclCommunicator::NcclCommunicator(std::unique_ptr<MpiCommunicator> control, CudaDevice device)
    : control_(std::move(control)), device_(std::move(device)) {
  require_devices_of_their_own();
  // Small and urgent beside the kernels that it overlaps with.
  int least = 0;
  int greatest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for priorities of streams");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest), "making a stream");
  check_cuda(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "making an event");
  try {
    connect();
  } catch (...) {
    if (comm_ != nullptr) ncclCommAbort(comm_);
    throw;
  }
  watcher_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

NcclCommunicator::~NcclCommunicator() {
  watcher_.request_stop();
  watcher_.join();
  disconnect();
  // The driver may wait for a device's work when its things are destroyed; after a failure the process ends anyhow.
  if (has_failed_ || std::uncaught_exceptions() > 0) return;
  for (const Pending& pending : pending_) cudaEventDestroy(pending.done);
  for (cudaEvent_t event : free_events_) cudaEventDestroy(event);
  cudaEventDestroy(ready_);
  cudaStreamDestroy(stream_);
}

// An orderly end where the peers take part, which they do soon or never.
void NcclCommunicator::disconnect() {
  if (has_failed_) return;
  if (std::uncaught_exceptions() == 0 && !control_->watch().has_verdict()) {
    ncclResult_t state = ncclCommFinalize(comm_);
    const auto deadline = std::chrono::steady_clock::now() + kTimeToFinalize;
    while (state == ncclInProgress && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) break;
    }
    if (state == ncclSuccess && ncclCommDestroy(comm_) == ncclSuccess) return;
  }
  ncclCommAbort(comm_);
}

void NcclCommunicator::connect() {
  ncclUniqueId id{};
  if (rank() == 0) {
    if (const ncclResult_t result = ncclGetUniqueId(&id); result != ncclSuccess) {
      throw_nccl("getting an id", ncclGetErrorString(result));
    }
  }
  control_->broadcast(std::as_writable_bytes(std::span(&id, 1)), 0, "NCCL's id");
  const CollectiveSite site{.call = CollectiveCall::connect, .what = ShortText("NCCL")};
  control_->run_collective(site, [&](const Look& look) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    // Otherwise calls could block where no abort reaches them.
    config.blocking = 0;
    settle(ncclCommInitRankConfig(&comm_, world_size(), id, rank(), &config), look, site.to_string());
  });
}

// Waits until NCCL has done what it only began.
void NcclCommunicator::settle(ncclResult_t result, const Look& look, std::string_view what) {
  while (result == ncclInProgress) {
    look();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    if (has_failed_) require_sound();
    if (const ncclResult_t status = ncclCommGetAsyncError(comm_, &result); status != ncclSuccess) result = status;
  }
  if (result == ncclSuccess) return;
  throw_nccl(what, fmt::format("{}: {}", ncclGetErrorString(result), ncclGetLastError(comm_)));
}

void NcclCommunicator::require_sound() {
  if (!has_failed_) return;
  const auto deadline = std::chrono::steady_clock::now() + kTimeForVerdict;
  do {
    control_->progress().advance();  // throws where a peer is missing
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  } while (std::chrono::steady_clock::now() < deadline);
  throw_nccl(control_->watch().where(), failure_);
}

void NcclCommunicator::enqueue(const Buffer& buffer, const CollectiveSite& site,
                               const std::function<ncclResult_t()>& call) {
  control_->run_collective(site, [&](const Look& look) {
    if (buffer.count == 0) return;
    const std::lock_guard lock(nccl_mutex_);
    require_sound();
    auto* const user = static_cast<cudaStream_t>(buffer.stream);
    const std::string what = site.to_string();
    check_cuda(cudaEventRecord(ready_, user), what);
    check_cuda(cudaStreamWaitEvent(user, begin_after(ready_, what, look, call), 0), what);
  });
}

// Returns the event that the call's work ends with.
cudaEvent_t NcclCommunicator::begin_after(cudaEvent_t ready, std::string_view what, const Look& look,
                                          const std::function<ncclResult_t()>& call) {
  check_cuda(cudaStreamWaitEvent(stream_, ready, 0), what);
  settle(call(), look, what);
  cudaEvent_t done = take_event();
  check_cuda(cudaEventRecord(done, stream_), what);
  const std::lock_guard lock(pending_mutex_);
  pending_.push_back({done, now_ns(), std::string(what)});
  return done;
}

CollectiveSite NcclCommunicator::all_reduce_site(const Buffer& buffer, ReduceOp op, std::string_view what) const {
  return {.call = CollectiveCall::all_reduce,
          .dtype = buffer.dtype,
          .op = op,
          .count = buffer.count,
          .memory = Memory::device,
          .what = ShortText(what)};
}

ncclResult_t NcclCommunicator::begin_all_reduce(const Buffer& buffer, ReduceOp op) {
  return ncclAllReduce(buffer.data, buffer.data, buffer.count, nccl_type(buffer.dtype), nccl_op(op), comm_, stream_);
}

void NcclCommunicator::all_reduce(Buffer buffer, ReduceOp op, std::string_view what) {
  require_sound();
  if (buffer.memory == Memory::host) return control_->all_reduce(buffer, op, what);
  enqueue(buffer, all_reduce_site(buffer, op, what), [&] { return begin_all_reduce(buffer, op); });
}

// The peers' arrival is waited for on a thread of its own, so that neither the main thread nor autograd's, which feed
// the device, stand still. The event of the buffer's stream is recorded before.
class NcclCommunicator::Queue final : public AllReduceQueue {
 public:
  explicit Queue(NcclCommunicator& communicator)
      : communicator_(communicator), thread_(communicator.control_->watch()) {
    check_cuda(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "making an event");
  }
  ~Queue() override { cudaEventDestroy(done_); }

  void start(Buffer buffer, ReduceOp op, std::string_view what) override {
    cudaEvent_t ready = nullptr;
    if (buffer.memory == Memory::device) {
      auto* const user = static_cast<cudaStream_t>(buffer.stream);
      ready = communicator_.take_event();
      check_cuda(cudaEventRecord(ready, user), what);
      streams_.insert(user);
    }
    thread_.push([this, buffer, op, ready, name = std::string(what)] { run(buffer, op, ready, name); });
  }

  void finish() override {
    thread_.finish();
    if (streams_.empty()) return;
    check_cuda(cudaEventRecord(done_, communicator_.stream_), "the end of all_reduces");
    for (cudaStream_t stream : streams_) check_cuda(cudaStreamWaitEvent(stream, done_, 0), "the end of all_reduces");
    streams_.clear();
  }

 private:
  void run(const Buffer& buffer, ReduceOp op, cudaEvent_t ready, std::string_view what) {
    if (ready == nullptr) return communicator_.all_reduce(buffer, op, what);
    check_cuda(cudaSetDevice(communicator_.device_.index), what);
    communicator_.require_sound();
    const CollectiveSite site = communicator_.all_reduce_site(buffer, op, what);
    communicator_.control_->run_collective(site, [&](const Look& look) {
      if (buffer.count == 0) return;
      const std::lock_guard lock(communicator_.nccl_mutex_);
      communicator_.require_sound();
      communicator_.begin_after(ready, site.to_string(), look,
                                [&] { return communicator_.begin_all_reduce(buffer, op); });
    });
    communicator_.give_back_event(ready);
  }

  NcclCommunicator& communicator_;
  cudaEvent_t done_ = nullptr;
  std::set<cudaStream_t> streams_;  // of what was started
  CollectiveThread thread_;         // stopped first
};

std::unique_ptr<AllReduceQueue> NcclCommunicator::make_all_reduce_queue() {
  return std::make_unique<Queue>(*this);
}

void NcclCommunicator::broadcast(Buffer buffer, int root, std::string_view what) {
  require_sound();
  if (buffer.memory == Memory::host) return control_->broadcast(buffer, root, what);
  const CollectiveSite site{.call = CollectiveCall::broadcast,
                            .root = root,
                            .count = buffer.count * size_of(buffer.dtype),
                            .memory = Memory::device,
                            .what = ShortText(what)};
  enqueue(buffer, site, [&] {
    return ncclBroadcast(buffer.data, buffer.data, buffer.count, nccl_type(buffer.dtype), root, comm_, stream_);
  });
}

void NcclCommunicator::synchronize(std::string_view what) {
  require_sound();
  const CollectiveSite site{.call = CollectiveCall::synchronize, .memory = Memory::device, .what = ShortText(what)};
  control_->run_collective(site, [&](const Look& look) {
    while (has_pending()) {
      require_sound();
      look();
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  require_sound();
}

void NcclCommunicator::broadcast(std::span<std::byte> bytes, int root, std::string_view what) {
  require_sound();
  control_->broadcast(bytes, root, what);
}

std::vector<Bytes> NcclCommunicator::gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) {
  require_sound();
  return control_->gather_to_root(bytes, root, what);
}

std::vector<Bytes> NcclCommunicator::all_gather(std::span<const std::byte> bytes, std::string_view what) {
  require_sound();
  return control_->all_gather(bytes, what);
}

void NcclCommunicator::barrier(std::string_view what) {
  require_sound();
  control_->barrier(what);
}

std::unique_ptr<Communicator> NcclCommunicator::split(int color, std::string_view what) {
  require_sound();
  return std::make_unique<NcclCommunicator>(control_->split_mpi(color, what), device_);
}

cudaEvent_t NcclCommunicator::take_event() {
  {
    const std::lock_guard lock(pending_mutex_);
    if (!free_events_.empty()) {
      cudaEvent_t event = free_events_.back();
      free_events_.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
  return event;
}

void NcclCommunicator::give_back_event(cudaEvent_t event) {
  const std::lock_guard lock(pending_mutex_);
  free_events_.push_back(event);
}

bool NcclCommunicator::has_pending() {
  retire_finished();
  const std::lock_guard lock(pending_mutex_);
  return !pending_.empty();
}

void NcclCommunicator::retire_finished() {
  const std::lock_guard lock(pending_mutex_);
  while (!pending_.empty() && cudaEventQuery(pending_.front().done) == cudaSuccess) {
    free_events_.push_back(pending_.front().done);
    pending_.pop_front();
  }
}

void NcclCommunicator::watch(const std::stop_token& stop) {
  cudaSetDevice(device_.index);
  std::unique_lock lock(stop_mutex_);
  while (!stop_condition_.wait_for(lock, stop, kWatchEvery, [] { return false; }) && !stop.stop_requested()) {
    if (const std::string failure = find_failure(); !failure.empty()) return fail(failure);
  }
}

// Empty where there is none.
std::string NcclCommunicator::find_failure() {
  retire_finished();
  // The main thread asks NCCL itself while it holds the lock.
  if (std::unique_lock lock(nccl_mutex_, std::try_to_lock); lock) {
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) return "its state cannot be read";
    if (state != ncclSuccess && state != ncclInProgress) {
      return fmt::format("{}: {}", ncclGetErrorString(state), ncclGetLastError(comm_));
    }
  }
  std::int64_t since_ns = 0;
  std::string what;
  {
    const std::lock_guard lock(pending_mutex_);
    if (pending_.empty()) return control_->watch().has_verdict() ? "a peer is missing" : "";
    since_ns = pending_.front().since_ns;
    what = pending_.front().what;
    if (const cudaError_t status = cudaEventQuery(pending_.front().done);
        status != cudaSuccess && status != cudaErrorNotReady) {
      return fmt::format("{}: {}", what, cudaGetErrorString(status));
    }
  }
  switch (control_->watch().wait_on_device(control_->members(), since_ns, device_wait_)) {
    case PeerWatch::DeviceWaitState::goes_on:
      return "";
    case PeerWatch::DeviceWaitState::peer_is_missing:
      return "a peer is missing";
    case PeerWatch::DeviceWaitState::is_stuck:
      break;
  }
  return fmt::format("{} does not end, though no rank is known to be missing", what);
}

// Ends NCCL's kernels, and so whatever waits for them.
void NcclCommunicator::fail(const std::string& failure) {
  failure_ = failure;
  has_failed_ = true;
  // A call that is blocked because the device is, holds the lock until the abort frees the device.
  std::unique_lock lock(nccl_mutex_, std::defer_lock);
  static_cast<void>(lock.try_lock_for(kTimeForCallUnderWay));
  ncclCommAbort(comm_);
}

}  // namespace bertdist
