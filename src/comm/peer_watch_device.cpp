// How a PeerWatch finds missing ranks while this rank's device, and perhaps not its main thread, waits for them.
#include <algorithm>

#include "comm/peer_watch.h"

namespace bertdist {

namespace {

// Later than the main thread, which knows more, where that waits too.
constexpr std::int64_t kTimeForMainThread = 1'000'000'000;
// A rank's last sign may be a little younger than the wait; only later is it said that none is missing.
constexpr std::int64_t kTimeForSilent = 1'500'000'000;
// Longer between two looks, and this process was suspended; its peers probably too.
constexpr std::int64_t kStall = 100'000'000;
constexpr std::int64_t kFresh = 500'000'000;

}  // namespace

// A device that waits excuses a main thread, which may be blocked by it.
bool PeerWatch::is_excused(int rank, const Sighting& sighting) const {
  const std::int64_t fresh = is_local(rank) ? kFresh : kFresh + 2 * ask_every();
  return now_ns() - sighting.device_wait_ns < fresh;
}

PeerWatch::DeviceWaitState PeerWatch::wait_on_device(std::span<const int> members, std::int64_t since_ns,
                                                     DeviceWait& wait) {
  const std::int64_t now = now_ns();
  if (wait.since_ns != since_ns) wait = {.since_ns = since_ns, .looked_ns = now};
  wait.forgiven_ns += std::max<std::int64_t>(0, now - wait.looked_ns - kStall);
  wait.looked_ns = now;
  const std::int64_t patience = timeout_ns_ + wait.forgiven_ns + kTimeForMainThread;
  // Not for ever: it may be this rank's own device that hangs.
  if (now - since_ns < patience + kTimeForSilent + kFresh) {
    my_slot().device_wait_ns.store(now, std::memory_order_relaxed);
  }
  if (has_verdict()) return DeviceWaitState::peer_is_missing;
  if (now - since_ns < patience) return DeviceWaitState::goes_on;

  Verdict silent{.kind = Verdict::Kind::silent};
  for (const int rank : members) {
    if (rank == rank_) continue;
    const Sighting sighting = sight(rank);
    // Only a main thread can ask a rank of another host.
    if (!is_local(rank)) continue;
    const bool looks = sighting.status.in_collective != 0;
    const std::int64_t last = std::max(sighting.progress_ns, looks ? sighting.polled_ns : std::int64_t{0});
    if (now - last > patience && !is_excused(rank, sighting)) silent.accuse(rank);
  }
  if (silent.num_ranks > 0) {
    board_->set_verdict(silent);
    return DeviceWaitState::peer_is_missing;
  }
  // A main thread that looks finds out more: whether a rank is silent that its own device excused until then.
  const bool main_thread_looks = now - my_slot().polled_ns < kFresh;
  const std::int64_t time_for_silent = (main_thread_looks ? 2 : 1) * kTimeForSilent;
  return now - since_ns > patience + time_for_silent ? DeviceWaitState::is_stuck : DeviceWaitState::goes_on;
}

}  // namespace bertdist
