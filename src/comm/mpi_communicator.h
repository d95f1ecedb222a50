#pragma once

#include <mpi.h>

#include <functional>

#include "comm/communicator.h"
#include "comm/peer_watch.h"

namespace bertdist {

// Collectives over host memory by MPI. Each is polled, and the PeerWatch looks meanwhile for ranks that are missing.
class MpiCommunicator final : public Communicator {
 public:
  // Duplicates `world`, MPI_COMM_WORLD or what stands for it; every rank of it must construct.
  MpiCommunicator(MPI_Comm world, const CommunicatorOptions& options);
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int world_size() const override { return static_cast<int>(members_.size()); }
  int local_rank() const override { return local_rank_; }
  int local_world_size() const override { return local_world_size_; }
  std::string_view name() const override { return "MPI"; }

  void all_reduce(Buffer buffer, ReduceOp op, std::string_view what) override;
  std::unique_ptr<AllReduceQueue> make_all_reduce_queue() override;
  void broadcast(std::span<std::byte> bytes, int root, std::string_view what) override;
  void broadcast(Buffer buffer, int root, std::string_view what) override;
  std::vector<Bytes> gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) override;
  std::vector<Bytes> all_gather(std::span<const std::byte> bytes, std::string_view what) override;
  void barrier(std::string_view what) override;
  std::unique_ptr<Communicator> split(int color, std::string_view what) override { return split_mpi(color, what); }
  Progress& progress() override { return *watch_; }
  void leave() override { watch_->leave(); }
  [[noreturn]] void abort(int exit_code) override;

  // For a communicator whose payloads take another way. One collective: `site` is compared as for all others, then
  // `body` runs; where it waits, it calls `look` again and again, which throws Error(peer) once a rank is missing.
  using Look = std::function<void()>;
  void run_collective(const CollectiveSite& site, const std::function<void(const Look& look)>& body);
  std::unique_ptr<MpiCommunicator> split_mpi(int color, std::string_view what);
  PeerWatch& watch() { return *watch_; }
  const std::vector<int>& members() const { return members_; }

 private:
  class Call;

  MpiCommunicator(MPI_Comm parent, std::uint64_t id, std::vector<int> members, std::shared_ptr<PeerWatch> watch);
  enum class Phase { arrival, payload };

  void wait(MPI_Request& request, Phase phase = Phase::payload);
  void require_same_site(const CollectiveSite& site);
  [[noreturn]] void fail_not_same(const CollectiveSite& site);
  void sum_in_rank_order(Buffer buffer);
  template <typename T>
  void sum_in_rank_order(std::span<T> values);
  void max_in_place(Buffer buffer);
  void broadcast_from(int root, std::span<std::byte> bytes);
  std::vector<std::uint64_t> exchange_sizes(std::uint64_t size);

  std::shared_ptr<PeerWatch> watch_;  // one for the world and all its parts
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::uint64_t id_;          // the same on all its ranks, another for each communicator of a rank
  std::vector<int> members_;  // its ranks, as ranks of the world
  std::uint64_t num_calls_ = 0;
  int rank_ = 0;
  int local_rank_ = 0;
  int local_world_size_ = 1;
};

}  // namespace bertdist
