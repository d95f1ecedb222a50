#include "comm/peer_watch.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "base/log.h"

namespace bertdist {

namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kSecond = 1000 * kMillisecond;
constexpr std::int64_t kLookEvery = 2 * kMillisecond;
// Longer between two looks, and this process was suspended, or the machine overloaded; its peers probably too.
constexpr std::int64_t kStall = 100 * kMillisecond;
constexpr std::int64_t kJudgeEvery = 20 * kMillisecond;
constexpr std::int64_t kServeEvery = 50 * kMillisecond;  // while working
constexpr std::int64_t kLongWait = 20 * kMillisecond;
constexpr std::int64_t kAnswerToSigterm = 200 * kMillisecond;
constexpr std::int64_t kTimeForSilent = kSecond;  // a silent rank is found first, then those that only seem at fault
constexpr std::int64_t kTimeForMainThread = 250 * kMillisecond;
constexpr std::int64_t kTimeForLauncher = 4 * kSecond;
constexpr std::int64_t kTimeToLeave = 5 * kSecond;
constexpr std::int64_t kTimeToStart = 4 * kSecond;  // MPI still makes connections, and cannot be polled for them

constexpr const char* kHint =
    "its own messages, if any, say why it stopped; comm_timeout_s sets how long a rank may give no sign of progress";

// A rank's sighting in a message: ages, because hosts have clocks of their own.
struct SightingMessage {
  std::int32_t rank = 0;
  std::int64_t progress_age = 0;
  std::int64_t polled_age = 0;
  std::int64_t device_wait_age = 0;
  RankStatus status;
};

void sleep_ns(std::int64_t nanoseconds) {
  std::this_thread::sleep_for(std::chrono::nanoseconds(nanoseconds));
}

}  // namespace

PeerWatch::PeerWatch(MPI_Comm world, const CommunicatorOptions& options)
    : timeout_(options.timeout), timeout_ns_(static_cast<std::int64_t>(options.timeout.count() * 1e9)) {
  MPI_Comm_rank(world, &rank_);
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host);
  exchange_places(world, host, options.device);
  board_ = std::make_unique<ProgressBoard>(host);
  my_slot().progress_ns = now_ns();
  my_slot().process = ::getpid();
  my_slot().status.store(mine_);
  MPI_Barrier(host);
  MPI_Comm_free(&host);
  if (!remote_ranks_.empty()) messages_ = std::make_unique<PeerMessages>(world);
  open_processes();
  stand_in_ = std::jthread([this](const std::stop_token& stop) { stand_in_for_main_thread(stop); });
}

PeerWatch::~PeerWatch() {
  leave();
  stand_in_ = {};  // before the descriptors go that it looks at: a closed one looks like a process that ended
  for (const auto& [rank, descriptor] : processes_) ::close(descriptor);
}

void PeerWatch::exchange_places(MPI_Comm world, MPI_Comm host, const std::string& device) {
  struct Entry {
    char host[64];
    char device[64];
  };
  int world_size = 0;
  MPI_Comm_size(world, &world_size);
  Entry mine{};
  ::gethostname(mine.host, sizeof(mine.host) - 1);
  device.copy(mine.device, sizeof(mine.device) - 1);
  std::vector<Entry> entries(static_cast<std::size_t>(world_size));
  MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, entries.data(), sizeof(mine), MPI_BYTE, world);

  MPI_Group world_group = MPI_GROUP_NULL;
  MPI_Group host_group = MPI_GROUP_NULL;
  MPI_Comm_group(world, &world_group);
  MPI_Comm_group(host, &host_group);
  for (int rank = 0; rank < world_size; ++rank) {
    int local_rank = MPI_UNDEFINED;
    MPI_Group_translate_ranks(world_group, 1, &rank, host_group, &local_rank);
    const Entry& entry = entries[static_cast<std::size_t>(rank)];
    places_.push_back({entry.host, entry.device, local_rank == MPI_UNDEFINED ? -1 : local_rank});
    if (local_rank == MPI_UNDEFINED) remote_ranks_.push_back(rank);
  }
  MPI_Group_free(&host_group);
  MPI_Group_free(&world_group);
}

// A descriptor of a process tells of its end at once, and cannot mean another process that got its number later. Where
// the system has none, or shows this rank no other processes, the end of a peer is found out by its silence.
void PeerWatch::open_processes() {
  for (int rank = 0; rank < static_cast<int>(places_.size()); ++rank) {
    if (rank == rank_ || !is_local(rank)) continue;
    const auto descriptor = static_cast<int>(
        ::syscall(SYS_pidfd_open, board_->slot(places_[static_cast<std::size_t>(rank)].local_rank).process.load(), 0));
    if (descriptor >= 0) processes_.emplace(rank, descriptor);
  }
}

void PeerWatch::enter(std::string_view activity) {
  mine_.activity = ShortText(activity);
  my_slot().status.store(mine_);
  advance();
}

void PeerWatch::set_step(std::int64_t step) {
  mine_.step = step;
  my_slot().status.store(mine_);
  advance();
}

void PeerWatch::advance() {
  const std::int64_t now = now_ns();
  my_slot().progress_ns.store(now, std::memory_order_relaxed);
  if (std::this_thread::get_id() != collective_thread_ || now - served_ns_ < kServeEvery) return;
  served_ns_ = now;
  serve_messages();
  follow_verdict();
}

void PeerWatch::hand_over_collectives(std::thread::id thread) {
  collective_thread_ = thread;
  main_thread_computes_ = true;
}

void PeerWatch::take_back_collectives() {
  collective_thread_ = main_thread_;
  main_thread_computes_ = false;
}

void PeerWatch::enter_collective(std::uint64_t communicator, std::uint64_t sequence, const CollectiveSite& site) {
  mine_.communicator = communicator;
  mine_.sequence = sequence;
  mine_.site = site;
  mine_.in_collective = 1;
  forgiven_ns_ = 0;
  entered_ns_ = looked_ns_ = judged_ns_ = asked_ns_ = now_ns();
  my_slot().progress_ns.store(entered_ns_, std::memory_order_relaxed);
  my_slot().status.store(mine_);
  follow_verdict();
}

void PeerWatch::leave_collective() {
  mine_.in_collective = 0;
  mine_.activity = {};
  my_slot().progress_ns.store(now_ns(), std::memory_order_relaxed);
  my_slot().status.store(mine_);
  held_sigterm_.reset();
}

void PeerWatch::note_part() {
  my_slot().progress_ns.store(now_ns(), std::memory_order_relaxed);
}

bool PeerWatch::look(std::span<const int> members) {
  const std::int64_t now = now_ns();
  const bool is_long = now - entered_ns_ > kLongWait;
  if (now - looked_ns_ < kLookEvery) return is_long;
  forgiven_ns_ += std::max<std::int64_t>(0, now - looked_ns_ - kStall);
  looked_ns_ = now;
  if (has_answered_sigterm_) {
    held_sigterm_.reset();
  } else if (!held_sigterm_) {
    held_sigterm_.emplace();
  }
  my_slot().polled_ns.store(now, std::memory_order_relaxed);
  serve_messages();
  follow_verdict();
  if (now - judged_ns_ < kJudgeEvery) return is_long;
  judged_ns_ = now;
  if (now - asked_ns_ > ask_every()) ask(members);
  if (const std::optional<Verdict> dead = find_dead()) give_up(*dead);
  judge(members);
  return is_long;
}

std::int64_t PeerWatch::ask_every() const {
  return std::min(timeout_ns_ / 4, 2 * kSecond);
}

PeerWatch::Sighting PeerWatch::sight(int rank) const {
  if (!is_local(rank)) {
    const std::lock_guard lock(remote_mutex_);
    const auto known = remote_.find(rank);
    return known == remote_.end() ? Sighting{} : known->second;
  }
  const BoardSlot& slot = board_->slot(places_[static_cast<std::size_t>(rank)].local_rank);
  return {slot.status.load(), slot.progress_ns.load(), slot.polled_ns.load(), slot.device_wait_ns.load()};
}

// Since when a rank has neither worked nor looked for others. Waiting in another collective than this rank is no
// progress, but it is not silence either: whom that rank waits for is the one that is missing.
std::int64_t PeerWatch::silent_since(int rank, const Sighting& sighting) const {
  std::int64_t since = sighting.progress_ns + forgiven_ns_;
  if (sighting.status.in_collective != 0) since = std::max(since, sighting.polled_ns + forgiven_ns_);
  if (sighting.status.communicator == 0) since += kTimeToStart;
  if (sighting.status.leaving != 0) since += kTimeToLeave;
  // Of a remote rank only as much is known as was asked for since this rank began to wait.
  if (!is_local(rank)) since = std::max(since, entered_ns_ + forgiven_ns_) + ask_every();
  return since;
}

void PeerWatch::judge(std::span<const int> members) {
  const std::int64_t now = now_ns();
  std::int64_t oldest_absent = std::numeric_limits<std::int64_t>::max();
  std::int64_t last_part = my_slot().progress_ns;
  Verdict silent{.kind = Verdict::Kind::silent};
  bool is_deadlock = false;
  for (const int rank : members) {
    if (rank == rank_) continue;
    const Sighting sighting = sight(rank);
    const RankStatus& status = sighting.status;
    if (now - silent_since(rank, sighting) > timeout_ns_ && !is_excused(rank, sighting)) silent.accuse(rank);
    if (status.is_in(mine_.communicator, mine_.sequence)) {
      last_part = std::max(last_part, sighting.progress_ns);
      continue;
    }
    oldest_absent = std::min(oldest_absent, sighting.progress_ns);
    // One that is in a later collective of this communicator waits for this rank.
    const bool is_ahead = status.communicator == mine_.communicator && status.sequence > mine_.sequence;
    if (status.in_collective != 0 && !is_ahead &&
        now - sighting.progress_ns > timeout_ns_ + forgiven_ns_ + kTimeForSilent) {
      is_deadlock = true;
    }
  }
  if (silent.num_ranks > 0) give_up(silent);
  if (is_deadlock && now - entered_ns_ > timeout_ns_ + forgiven_ns_) give_up({.kind = Verdict::Kind::deadlock});
  if (oldest_absent != std::numeric_limits<std::int64_t>::max()) {
    // Whoever waits for this rank waits, in truth, for those that it waits for: their signs are this one's.
    if (oldest_absent > my_slot().progress_ns) my_slot().progress_ns.store(oldest_absent);
  } else if (now - last_part > timeout_ns_ + forgiven_ns_ + kTimeForSilent) {
    give_up(silent);
  }
}

std::optional<Verdict> PeerWatch::find_dead() const {
  Verdict verdict{.kind = Verdict::Kind::died};
  for (const auto& [rank, descriptor] : processes_) {
    pollfd request{descriptor, POLLIN, 0};
    if (::poll(&request, 1, 0) != 1 || sight(rank).status.leaving != 0) continue;
    verdict.accuse(rank);
  }
  return verdict.num_ranks > 0 ? std::optional(verdict) : std::nullopt;
}

void PeerWatch::follow_verdict() {
  const Verdict verdict = board_->verdict();
  if (verdict.kind != Verdict::Kind::none) give_up(verdict);
}

void PeerWatch::give_up(const Verdict& found) {
  board_->set_verdict(found);
  const Verdict verdict = board_->verdict();
  for (const int rank : remote_ranks_) {
    if (verdict.accuses(rank)) continue;
    answer(rank);  // what is known here of the missing ones
    messages_->send(rank, PeerMessages::Kind::verdict, std::as_bytes(std::span(&verdict, 1)));
  }
  if (verdict.accuses(rank_)) {
    throw Error(ExitCode::peer, fmt::format("{}: the others gave up waiting for this rank", where()));
  }
  // Empty where the stand-in has spoken for this thread.
  throw has_told_ ? Error(ExitCode::peer, "") : Error(ExitCode::peer, describe(verdict), kHint);
}

void PeerWatch::ask(std::span<const int> members) {
  asked_ns_ = now_ns();
  for (const int rank : members) {
    if (is_local(rank) || is_asked_[rank]) continue;
    is_asked_[rank] = true;
    messages_->send(rank, PeerMessages::Kind::question, {});
  }
}

void PeerWatch::serve_messages() {
  if (!messages_) return;
  while (const std::optional<PeerMessages::Message> message = messages_->receive()) {
    switch (message->kind) {
      case PeerMessages::Kind::question:
        answer(message->source);
        break;
      case PeerMessages::Kind::answer:
        is_asked_[message->source] = false;
        take_answer(message->bytes);
        break;
      case PeerMessages::Kind::verdict: {
        Verdict verdict;
        std::memcpy(static_cast<void*>(&verdict), message->bytes.data(), sizeof(verdict));
        board_->set_verdict(verdict);
        break;
      }
    }
  }
}

// Of all ranks of this host: one of them may be stopped, and cannot answer for itself.
void PeerWatch::answer(int asker) {
  const std::int64_t now = now_ns();
  std::vector<SightingMessage> sightings;
  for (int rank = 0; rank < static_cast<int>(places_.size()); ++rank) {
    if (!is_local(rank)) continue;
    const Sighting sighting = sight(rank);
    sightings.push_back(
        {rank, now - sighting.progress_ns, now - sighting.polled_ns, now - sighting.device_wait_ns, sighting.status});
  }
  messages_->send(asker, PeerMessages::Kind::answer, std::as_bytes(std::span(sightings)));
}

void PeerWatch::take_answer(std::span<const std::byte> bytes) {
  const std::int64_t now = now_ns();
  const std::lock_guard lock(remote_mutex_);
  for (; !bytes.empty(); bytes = bytes.subspan(sizeof(SightingMessage))) {
    SightingMessage message;
    std::memcpy(static_cast<void*>(&message), bytes.data(), sizeof(message));
    Sighting& known = remote_[message.rank];
    // Several ranks of a host answer, and the order in which their answers come says nothing.
    if (now - message.progress_age < known.progress_ns) continue;
    known = {message.status, now - message.progress_age, std::max(known.polled_ns, now - message.polled_age),
             std::max(known.device_wait_ns, now - message.device_wait_age)};
  }
}

void PeerWatch::leave() {
  has_told_ = true;
  mine_.leaving = 1;
  my_slot().progress_ns.store(now_ns());
  my_slot().status.store(mine_);
}

void PeerWatch::let_others_tell() {
  my_slot().has_told = 1;
  const Verdict verdict = board_->verdict();
  const auto all_told = [&] {
    for (int rank = 0; rank < static_cast<int>(places_.size()); ++rank) {
      if (!is_local(rank) || verdict.accuses(rank)) continue;
      if (board_->slot(places_[static_cast<std::size_t>(rank)].local_rank).has_told == 0) return false;
    }
    return true;
  };
  // After a death the launcher ends the job, with the exit code of the rank that died.
  const bool is_ended_by_launcher = verdict.kind == Verdict::Kind::died;
  const std::int64_t start = now_ns();
  const std::int64_t at_least = is_ended_by_launcher ? kTimeForLauncher : remote_ranks_.empty() ? 0 : kSecond;
  const std::int64_t at_most = is_ended_by_launcher ? kTimeForLauncher : 2 * kSecond;
  for (std::int64_t waited = 0; waited < at_least || (waited < at_most && !all_told()); waited = now_ns() - start) {
    serve_messages();
    sleep_ns(5 * kMillisecond);
  }
  // One abort is enough, and MPI says less about it.
  if (rank_ != 0) sleep_ns(kSecond / 2);
}

void PeerWatch::stand_in_for_main_thread(const std::stop_token& stop) {
  std::int64_t verdict_ns = 0;
  std::int64_t sigterm_ns = 0;
  bool told_here = false;
  std::unique_lock lock(mutex_);
  while (!condition_.wait_for(lock, stop, std::chrono::milliseconds(50), [] { return false; }) &&
         !stop.stop_requested()) {
    if (board_->verdict().kind == Verdict::Kind::none) {
      if (const std::optional<Verdict> dead = find_dead()) board_->set_verdict(*dead);
    }
    const Verdict verdict = board_->verdict();
    const std::int64_t now = now_ns();
    // A thread that waits may be kept off a busy processor for long, or be held in MPI by a peer that is stopped in the
    // middle of a message. It waits all the same.
    if (my_slot().status.load().in_collective != 0) my_slot().polled_ns = now;
    if (HeldSigterm::came() && sigterm_ns == 0) sigterm_ns = now;
    if (sigterm_ns != 0 && now - sigterm_ns > kAnswerToSigterm && !has_answered_sigterm_) {
      tell_of_sigterm(sigterm_ns);
      has_answered_sigterm_ = true;
    }
    if (verdict.kind == Verdict::Kind::none) continue;
    if (verdict_ns == 0) verdict_ns = now;
    if (now - verdict_ns > kTimeForMainThread && !verdict.accuses(rank_) && !has_told_.exchange(true)) {
      print_error(rank_, describe(verdict), kHint);
      my_slot().has_told = 1;
      told_here = true;
    }
    // The main thread is in something that never ends, and so did not abort the job.
    if (told_here && now - verdict_ns > kTimeForLauncher) std::_Exit(static_cast<int>(ExitCode::peer));
  }
}

}  // namespace bertdist
