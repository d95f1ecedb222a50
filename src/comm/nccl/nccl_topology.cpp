// Which rank has which device.
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "comm/nccl/nccl_communicator.h"

namespace bertdist {

namespace {

constexpr std::size_t kMaxHosts = 16;

struct Place {
  char host[64] = {};
  char uuid[48] = {};
  char name[64] = {};
  char pci_bus_id[16] = {};
  int index = 0;
  int num_visible = 0;
};

template <std::size_t Size>
void copy_text(const std::string& text, char (&target)[Size]) {
  text.copy(target, Size - 1);
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string versions() {
  int nccl = 0;
  int driver = 0;
  int runtime = 0;
  ncclGetVersion(&nccl);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("NCCL {}.{}.{}, CUDA {} (driver {})", nccl / 10000, nccl / 100 % 100, nccl % 100,
                     version_text(runtime), version_text(driver));
}

}  // namespace

std::unique_ptr<NcclCommunicator> NcclCommunicator::of_world(MPI_Comm world, CommunicatorOptions options) {
  int rank = 0;
  MPI_Comm_rank(world, &rank);
  MPI_Comm host = MPI_COMM_NULL;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &host);
  int local_rank = 0;
  MPI_Comm_rank(host, &local_rank);
  MPI_Comm_free(&host);
  CudaDevice device = take_cuda_device(local_rank);
  options.device = device.to_string();
  auto communicator =
      std::make_unique<NcclCommunicator>(std::make_unique<MpiCommunicator>(world, options), std::move(device));
  const Log log(communicator->rank(), communicator->world_size());
  for (const std::string& line : communicator->topology()) log.info("{}", line);
  return communicator;
}

// NCCL refuses two ranks on one device, or hangs; here it is said which, and why.
void NcclCommunicator::require_devices_of_their_own() {
  Place mine{.index = device_.index, .num_visible = device_.num_visible};
  ::gethostname(mine.host, sizeof(mine.host) - 1);
  copy_text(device_.uuid, mine.uuid);
  copy_text(device_.name, mine.name);
  copy_text(device_.pci_bus_id, mine.pci_bus_id);

  std::map<std::string, std::pair<int, Place>> owners;  // by UUID
  std::map<std::string, std::string> hosts;
  const std::vector<Bytes> places = control_->all_gather(std::as_bytes(std::span(&mine, 1)), "CUDA devices");
  for (int rank = 0; rank < static_cast<int>(places.size()); ++rank) {
    Place place;
    std::memcpy(&place, places[static_cast<std::size_t>(rank)].data(), sizeof(place));
    const auto [owner, is_free] = owners.try_emplace(place.uuid, rank, place);
    if (!is_free) {
      throw Error(
          ExitCode::device,
          fmt::format("rank {} and rank {} on host {} have the same GPU ({}, {}): there are more ranks than GPUs, "
                      "of which rank {} sees {}",
                      owner->second.first, rank, place.host, place.name, place.uuid, rank, place.num_visible),
          "start as many ranks on a host as it has GPUs (mpirun -np N, --ntasks-per-node=N), and let each rank "
          "see all of them or one of its own (--gpus-per-task=1)");
    }
    std::string& devices = hosts[place.host];
    devices += fmt::format("{}rank {} on {} {} ({})", devices.empty() ? "" : ", ", rank, place.index, place.name,
                           place.pci_bus_id);
  }
  topology_.push_back(fmt::format("{}: {} rank{} on {} host{}", versions(), places.size(),
                                  places.size() == 1 ? "" : "s", hosts.size(), hosts.size() == 1 ? "" : "s"));
  for (const auto& [host, devices] : hosts) {
    if (topology_.size() > kMaxHosts) {
      topology_.push_back(fmt::format("and {} more hosts", hosts.size() - kMaxHosts));
      break;
    }
    topology_.push_back(fmt::format("host {}: {}", host, devices));
  }
}

}  // namespace bertdist
