#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/progress.h"
#include "comm/held_signal.h"
#include "comm/peer_messages.h"
#include "comm/progress_board.h"

namespace bertdist {

// Finds out which ranks of a job no longer go on, for all communicators of this rank.
//
// Each rank writes where it is on its host's ProgressBoard. A rank that waits in a collective calls look(), which reads
// the statuses of those it waits for: on the same host from the board, so that nothing is asked of a rank that is
// stopped or dead; on other hosts by questions, which any rank of that host answers while it waits or notes progress.
// A rank that gave no sign of progress for the timeout, or whose process ended, is missing. The first that finds so
// sets the verdict; all others, told by board and by message, end with it, each with an Error(peer) of its own.
//
// A thread that makes no MPI call reads the same board, for a rank that is busy elsewhere when the verdict comes.
class PeerWatch final : public Progress {
 public:
  // Collective over `world`.
  PeerWatch(MPI_Comm world, const CommunicatorOptions& options);
  ~PeerWatch() override;
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  void enter(std::string_view activity) override;
  void set_step(std::int64_t step) override;
  void advance() override;

  // Around each collective, on the thread that runs them. `sequence` counts those of the communicator `communicator`.
  void enter_collective(std::uint64_t communicator, std::uint64_t sequence, const CollectiveSite& site);
  void leave_collective();
  // A part of the collective's payload has moved.
  void note_part();
  // To be called again and again by a rank that waits in a collective for `members`, ranks of the world. Throws
  // Error(peer) once one of them is missing. True where the wait has become a long one.
  bool look(std::span<const int> members);

  // Another thread runs this rank's collectives while the main one computes, and calls MPI instead of it.
  void hand_over_collectives(std::thread::id thread);
  void main_thread_waits() { main_thread_computes_ = false; }  // for that thread to be done
  void take_back_collectives();
  // Whether the main thread computes meanwhile: time spent on waiting is then taken from it.
  bool main_thread_computes() const { return main_thread_computes_; }

  // For a thread other than the main one, which calls it every few milliseconds as long as this rank's device waits in
  // a collective of `members` that all of them entered before `since_ns`: the main thread may be blocked by the device,
  // or busy with other things. Sets the verdict where one of them is missing. `wait` is the calling thread's own.
  enum class DeviceWaitState {
    goes_on,
    peer_is_missing,  // there is a verdict
    is_stuck          // for longer than the timeout, though no rank is known to be missing
  };
  struct DeviceWait {
    std::int64_t since_ns = 0;
    std::int64_t looked_ns = 0;
    std::int64_t forgiven_ns = 0;  // this rank could not look, so perhaps the others could not work
  };
  DeviceWaitState wait_on_device(std::span<const int> members, std::int64_t since_ns, DeviceWait& wait);
  // Throws Error(peer) where a rank is known to be missing; with an empty message where the user was told already.
  void follow_verdict();
  // Whether a rank is known to be missing. On any thread.
  bool has_verdict() const { return board_->verdict().kind != Verdict::Kind::none; }

  // This rank ends the job, or has done its part: it is not to be missed.
  void leave();
  // Waits, a few seconds at most, until the other ranks have told their users why the job ends.
  void let_others_tell();

  std::string place_of(int rank) const;  // "rank 2 (host node7, CPU)"
  std::string where() const { return mine_.to_string(); }
  std::chrono::duration<double> timeout() const { return timeout_; }
  int rank() const { return rank_; }  // in the world

 private:
  // What is known of a rank, and of when.
  struct Sighting {
    RankStatus status;
    std::int64_t progress_ns = 0;
    std::int64_t polled_ns = 0;
    std::int64_t device_wait_ns = 0;
  };
  struct Place {
    std::string host;
    std::string device;
    int local_rank = -1;  // on this host; -1 elsewhere
  };

  void exchange_places(MPI_Comm world, MPI_Comm host, const std::string& device);
  void open_processes();

  BoardSlot& my_slot() const { return board_->slot(places_[static_cast<std::size_t>(rank_)].local_rank); }
  bool is_local(int rank) const { return places_[static_cast<std::size_t>(rank)].local_rank >= 0; }
  Sighting sight(int rank) const;
  std::int64_t silent_since(int rank, const Sighting& sighting) const;
  bool is_excused(int rank, const Sighting& sighting) const;

  void judge(std::span<const int> members);
  std::int64_t ask_every() const;
  void ask(std::span<const int> members);
  void serve_messages();
  void answer(int asker);
  void take_answer(std::span<const std::byte> bytes);
  std::optional<Verdict> find_dead() const;
  [[noreturn]] void give_up(const Verdict& verdict);
  void tell_of_sigterm(std::int64_t sigterm_ns);
  std::string describe(const Verdict& verdict) const;
  std::string describe_rank(int rank) const;
  void stand_in_for_main_thread(const std::stop_token& stop);

  const std::chrono::duration<double> timeout_;
  const std::int64_t timeout_ns_;
  int rank_ = 0;
  std::vector<Place> places_;      // of all ranks
  std::vector<int> remote_ranks_;  // those of other hosts
  std::unique_ptr<ProgressBoard> board_;
  std::unique_ptr<PeerMessages> messages_;
  std::map<int, int> processes_;  // local rank's number in the world → descriptor of its process
  mutable std::mutex remote_mutex_;
  std::map<int, Sighting> remote_;  // what remote ranks were last known to do
  std::map<int, bool> is_asked_;    // a question to it is on its way

  const std::thread::id main_thread_ = std::this_thread::get_id();
  std::atomic<std::thread::id> collective_thread_{main_thread_};
  std::atomic<bool> main_thread_computes_{false};
  RankStatus mine_;
  std::int64_t entered_ns_ = 0;  // the collective
  std::int64_t looked_ns_ = 0;
  std::int64_t forgiven_ns_ = 0;  // of this wait: this rank could not look, so perhaps the others could not work
  std::int64_t judged_ns_ = 0;
  std::int64_t asked_ns_ = 0;
  std::int64_t served_ns_ = 0;
  std::optional<HeldSigterm> held_sigterm_;
  std::atomic<bool> has_answered_sigterm_{false};

  std::atomic<bool> has_told_{false};  // this rank's user knows the verdict, or is about to
  std::mutex mutex_;
  std::condition_variable_any condition_;
  std::jthread stand_in_;  // stopped and joined first
};

}  // namespace bertdist
