#pragma once

#include <nccl.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/mpi_communicator.h"
#include "comm/nccl/cuda_device.h"

namespace bertdist {

// Device memory by NCCL; all else, and what has to be agreed on, by MPI.
//
// A collective of device memory is compared on all ranks as every other one, which waits for the peers' main threads
// but for no device. Then it goes into the one stream of this communicator, which by events waits for the buffer's
// stream and makes it wait in turn. A thread that makes no MPI call looks at NCCL's state and for missing peers, and
// ends NCCL's work when either fails, so that no thread waits for the device for ever; the next call then throws.
class NcclCommunicator final : public Communicator {
 public:
  // Of all ranks of `world`, every one of which must call: takes the rank's device, makes the MpiCommunicator for
  // control, and logs NCCL's version and the topology on rank 0. Throws Error(device) where a rank has no device of its
  // own.
  static std::unique_ptr<NcclCommunicator> of_world(MPI_Comm world, CommunicatorOptions options);

  // Collective over the ranks of `control`.
  NcclCommunicator(std::unique_ptr<MpiCommunicator> control, CudaDevice device);
  ~NcclCommunicator() override;

  int rank() const override { return control_->rank(); }
  int world_size() const override { return control_->world_size(); }
  int local_rank() const override { return control_->local_rank(); }
  int local_world_size() const override { return control_->local_world_size(); }
  std::string_view name() const override { return "MPI and NCCL"; }

  void all_reduce(Buffer buffer, ReduceOp op, std::string_view what) override;
  std::unique_ptr<AllReduceQueue> make_all_reduce_queue() override;
  void broadcast(std::span<std::byte> bytes, int root, std::string_view what) override;
  void broadcast(Buffer buffer, int root, std::string_view what) override;
  std::vector<Bytes> gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) override;
  std::vector<Bytes> all_gather(std::span<const std::byte> bytes, std::string_view what) override;
  void barrier(std::string_view what) override;
  void synchronize(std::string_view what) override;
  std::unique_ptr<Communicator> split(int color, std::string_view what) override;
  Progress& progress() override { return control_->progress(); }
  void leave() override { control_->leave(); }
  [[noreturn]] void abort(int exit_code) override { control_->abort(exit_code); }

  const CudaDevice& device() const { return device_; }
  // Lines for the log: versions, and which rank has which device of which host.
  const std::vector<std::string>& topology() const { return topology_; }

 private:
  struct Pending {
    cudaEvent_t done;
    std::int64_t since_ns;
    std::string what;
  };
  using Look = MpiCommunicator::Look;
  class Queue;

  void require_devices_of_their_own();
  void connect();
  void enqueue(const Buffer& buffer, const CollectiveSite& site, const std::function<ncclResult_t()>& call);
  CollectiveSite all_reduce_site(const Buffer& buffer, ReduceOp op, std::string_view what) const;
  ncclResult_t begin_all_reduce(const Buffer& buffer, ReduceOp op);
  cudaEvent_t begin_after(cudaEvent_t ready, std::string_view what, const Look& look,
                          const std::function<ncclResult_t()>& call);
  void settle(ncclResult_t result, const Look& look, std::string_view what);
  void require_sound();
  cudaEvent_t take_event();
  void give_back_event(cudaEvent_t event);
  void retire_finished();
  bool has_pending();
  void watch(const std::stop_token& stop);
  std::string find_failure();
  void fail(const std::string& failure);
  void disconnect();

  std::unique_ptr<MpiCommunicator> control_;
  CudaDevice device_;
  std::vector<std::string> topology_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;  // what the buffer's stream had in its queue; on the thread that runs collectives

  std::timed_mutex nccl_mutex_;  // of comm_: NCCL takes one call of a communicator at a time
  ncclComm_t comm_ = nullptr;

  std::mutex pending_mutex_;
  std::deque<Pending> pending_;           // in the order of the stream
  std::vector<cudaEvent_t> free_events_;  // for `done`

  std::atomic<bool> has_failed_{false};  // comm_ was aborted
  std::string failure_;                  // written before has_failed_
  PeerWatch::DeviceWait device_wait_;    // the watcher's

  std::mutex stop_mutex_;
  std::condition_variable_any stop_condition_;
  std::jthread watcher_;  // stopped and joined first
};

}  // namespace bertdist
