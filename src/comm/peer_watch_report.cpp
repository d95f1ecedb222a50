// What a PeerWatch tells the user.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "comm/peer_watch.h"

namespace bertdist {

namespace {

// A sign of this age, when SIGTERM comes, is one of a rank that lived.
constexpr std::int64_t kFresh = 200'000'000;

double seconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e9;
}

}  // namespace

std::string PeerWatch::place_of(int rank) const {
  const Place& place = places_[static_cast<std::size_t>(rank)];
  return fmt::format("rank {} (host {}, {})", rank, place.host, place.device);
}

std::string PeerWatch::describe_rank(int rank) const {
  const Sighting sighting = sight(rank);
  if (sighting.progress_ns == 0) return place_of(rank) + ", of which nothing is known";
  const std::int64_t last = std::max({sighting.progress_ns, sighting.polled_ns, sighting.device_wait_ns});
  return fmt::format("{}, last seen {:.1f} s ago in {}", place_of(rank), seconds(now_ns() - last),
                     sighting.status.to_string());
}

std::string PeerWatch::describe(const Verdict& verdict) const {
  const std::string mine = my_slot().status.load().to_string();
  if (verdict.kind == Verdict::Kind::deadlock) {
    std::string all;
    for (int rank = 0; rank < std::min(static_cast<int>(places_.size()), static_cast<int>(Verdict::kCapacity));
         ++rank) {
      all += (rank == 0 ? "" : "; ") + describe_rank(rank);
    }
    return fmt::format("{}: the ranks wait for each other in different collectives: {}", mine, all);
  }
  if (verdict.num_ranks == 0) {
    return fmt::format("{}: all ranks are in it, but it does not end: the network, or MPI, fails", mine);
  }
  std::string missing;
  for (std::uint32_t i = 0; i < verdict.num_ranks; ++i) {
    missing += (i == 0 ? "" : "; ") + describe_rank(verdict.ranks[i]);
  }
  if (verdict.kind == Verdict::Kind::died) return fmt::format("{}: the process ended of {}", mine, missing);
  return fmt::format("{}: no sign of progress for {} s from {}", mine, timeout_.count(), missing);
}

// mpirun sends SIGTERM to those that are left when a rank died. Where that rank was on another host this is how they
// come to know, and they have about a second to say for whom they waited. MPI itself may block then, so it is not
// asked.
void PeerWatch::tell_of_sigterm(std::int64_t sigterm_ns) {
  const RankStatus mine = my_slot().status.load();
  if (mine.in_collective == 0) return;
  std::string missing;
  for (int rank = 0; rank < static_cast<int>(places_.size()); ++rank) {
    const Sighting sighting = sight(rank);
    const bool is_here = sighting.status.is_in(mine.communicator, mine.sequence);
    const std::int64_t last = std::max(sighting.progress_ns, is_here ? sighting.polled_ns : 0);
    // The end of a local one is known without the signal.
    if (is_local(rank) || last > sigterm_ns - kFresh) continue;
    missing += (missing.empty() ? "" : "; ") + describe_rank(rank);
  }
  if (missing.empty() || has_told_) return;
  print_error(rank_, fmt::format("{}: SIGTERM came while this rank waited for {}", mine.to_string(), missing), "");
}

}  // namespace bertdist
