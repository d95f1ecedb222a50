#pragma once

#include <mpi.h>

#include "comm/communicator.h"

namespace bertdist {

// Collectives over host memory by MPI, each polled against a deadline so that a peer which stopped cannot hang the job.
class MpiCommunicator final : public Communicator {
 public:
  // Duplicates `parent`; every rank of it must construct.
  MpiCommunicator(MPI_Comm parent, const CommunicatorOptions& options);
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  int local_rank() const override { return local_rank_; }
  int local_world_size() const override { return local_world_size_; }
  std::string_view name() const override { return "MPI"; }

  void all_reduce(Buffer buffer, ReduceOp op, std::string_view what) override;
  void broadcast(std::span<std::byte> bytes, int root, std::string_view what) override;
  std::vector<Bytes> gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) override;
  std::vector<Bytes> all_gather(std::span<const std::byte> bytes, std::string_view what) override;
  void barrier(std::string_view what) override;
  std::unique_ptr<Communicator> split(int color, std::string_view what) override;
  [[noreturn]] void abort(int exit_code) override;

 private:
  void wait(MPI_Request& request, std::string_view call, std::string_view what);
  // Compares (call, what, size) of all ranks before a payload moves: MPI itself would crash or mix the data up.
  void require_same_call(std::string_view call, std::string_view what, std::uint64_t size);
  void sum_in_rank_order(Buffer buffer, std::string_view what);
  template <typename T>
  void sum_in_rank_order(std::span<T> values, std::string_view what);
  std::vector<std::uint64_t> exchange_sizes(std::uint64_t size, std::string_view call, std::string_view what);

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::chrono::duration<double> timeout_;
  int rank_ = 0;
  int world_size_ = 1;
  int local_rank_ = 0;
  int local_world_size_ = 1;
};

}  // namespace bertdist
