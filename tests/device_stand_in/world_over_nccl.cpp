// The stand-in's tensors as NCCL sees a GPU's: NcclCommunicator moves them, over CUDA and NCCL in host memory.
#include <cstdlib>
#include <utility>

#include "comm/device_memory.h"
#include "comm/nccl/nccl_world.h"
#include "device_world.h"

namespace bertdist {

namespace {

// Only tensors are of these types.
bool is_tensor(const Buffer& buffer) {
  return buffer.dtype == DType::float32 || buffer.dtype == DType::bfloat16;
}

// What a GPU's kernels would find in their stream before them, the CPU's operators, which know no streams, have to wait
// for: by a call to CUDA, which knows of no peer.
class Device {
 public:
  Buffer memory_of(Buffer buffer) const {
    buffer.memory = Memory::device;
    buffer.stream = stream_;
    return buffer;
  }
  void wait() const { check_cuda(cudaStreamSynchronize(stream_), "waiting for the stand-in"); }

 private:
  TestStream stream_;
};

class QueueOnDevice final : public AllReduceQueue {
 public:
  QueueOnDevice(std::unique_ptr<AllReduceQueue> queue, const Device& device)
      : queue_(std::move(queue)), device_(device) {}

  void start(Buffer buffer, ReduceOp op, std::string_view what) override {
    queue_->start(is_tensor(buffer) ? device_.memory_of(buffer) : buffer, op, what);
  }
  void finish() override {
    queue_->finish();
    device_.wait();
  }

 private:
  std::unique_ptr<AllReduceQueue> queue_;
  const Device& device_;
};

class TensorsOnDevice final : public Communicator {
 public:
  explicit TensorsOnDevice(std::unique_ptr<Communicator> nccl) : nccl_(std::move(nccl)) {}

  int rank() const override { return nccl_->rank(); }
  int world_size() const override { return nccl_->world_size(); }
  int local_rank() const override { return nccl_->local_rank(); }
  int local_world_size() const override { return nccl_->local_world_size(); }
  std::string_view name() const override { return nccl_->name(); }
  Progress& progress() override { return nccl_->progress(); }
  void leave() override { nccl_->leave(); }
  [[noreturn]] void abort(int exit_code) override {
    nccl_->abort(exit_code);
    std::abort();  // GCC forgets that a virtual function does not return
  }

  void all_reduce(Buffer buffer, ReduceOp op, std::string_view what) override {
    if (!is_tensor(buffer)) return nccl_->all_reduce(buffer, op, what);
    nccl_->all_reduce(device_.memory_of(buffer), op, what);
    device_.wait();
  }
  std::unique_ptr<AllReduceQueue> make_all_reduce_queue() override {
    return std::make_unique<QueueOnDevice>(nccl_->make_all_reduce_queue(), device_);
  }
  void broadcast(Buffer buffer, int root, std::string_view what) override {
    if (!is_tensor(buffer)) return nccl_->broadcast(buffer, root, what);
    nccl_->broadcast(device_.memory_of(buffer), root, what);
    device_.wait();
  }
  void broadcast(std::span<std::byte> bytes, int root, std::string_view what) override {
    nccl_->broadcast(bytes, root, what);
  }
  std::vector<Bytes> gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) override {
    return nccl_->gather_to_root(bytes, root, what);
  }
  std::vector<Bytes> all_gather(std::span<const std::byte> bytes, std::string_view what) override {
    return nccl_->all_gather(bytes, what);
  }
  void barrier(std::string_view what) override { nccl_->barrier(what); }
  void synchronize(std::string_view what) override { nccl_->synchronize(what); }
  std::unique_ptr<Communicator> split(int color, std::string_view what) override {
    return std::make_unique<TensorsOnDevice>(nccl_->split(color, what));
  }

 private:
  std::unique_ptr<Communicator> nccl_;
  Device device_;
};

}  // namespace

MakeWorld world_on_device(bool on_device) {
  if (!on_device) return &MpiSession::world;
  return [](const MpiSession& session, const CommunicatorOptions& options) -> std::unique_ptr<Communicator> {
    return std::make_unique<TensorsOnDevice>(make_nccl_world(session, options));
  };
}

}  // namespace bertdist
