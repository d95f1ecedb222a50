#include "comm/communicator.h"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>

#include "base/content_hash.h"
#include "base/error.h"
#include "comm/launch_environment.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"

namespace bertdist {

MpiSession::MpiSession() {
  const LaunchEnvironment launch = read_launch_environment();
  require_connected(launch);
  if (!launch.connects_mpi) return;
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
    throw Error(ExitCode::communication, "MPI_Init_thread failed");
  }
  initialized_ = true;
  if (provided < MPI_THREAD_SERIALIZED) throw Error(ExitCode::communication, "this MPI has no MPI_THREAD_SERIALIZED");
}

MpiSession::~MpiSession() {
  // MPI_Finalize waits for all ranks; while an exception unwinds the peers may never come.
  if (initialized_ && std::uncaught_exceptions() == 0) MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world(const CommunicatorOptions& options) const {
  if (!initialized_) return std::make_unique<OneProcessCommunicator>();
  auto world = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, options);
  require_world_size(read_launch_environment(), world->world_size());
  return world;
}

namespace {

class ImmediateAllReduces final : public AllReduceQueue {
 public:
  explicit ImmediateAllReduces(Communicator& communicator) : communicator_(communicator) {}
  void start(Buffer buffer, ReduceOp op, std::string_view what) override { communicator_.all_reduce(buffer, op, what); }
  void finish() override {}

 private:
  Communicator& communicator_;
};

}  // namespace

std::unique_ptr<AllReduceQueue> Communicator::make_all_reduce_queue() {
  return std::make_unique<ImmediateAllReduces>(*this);
}

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return sizeof(float);
    case DType::bfloat16:
      return sizeof(Bfloat16);
    case DType::float64:
    case DType::int64:
      return sizeof(double);
  }
  throw Error(ExitCode::internal, "unknown DType");
}

std::string broadcast_text(Communicator& communicator, std::string text, int root, std::string_view what) {
  auto size = static_cast<std::int64_t>(text.size());
  communicator.broadcast(std::as_writable_bytes(std::span(&size, 1)), root, what);
  text.resize(static_cast<std::size_t>(size));
  communicator.broadcast(std::as_writable_bytes(std::span(text)), root, what);
  return text;
}

namespace {

constexpr const char* kStartAlike = "start all ranks with the same files, options and version of bertdist";

using Values = std::map<std::string, std::string>;

std::string text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Each name and each value with a zero byte behind it.
std::string join(const Values& values) {
  std::string text;
  for (const auto& [name, value] : values) text.append(name).append(1, '\0').append(value).append(1, '\0');
  return text;
}

Values split(std::string_view text) {
  const auto next = [&] {
    const std::string_view part = text.substr(0, text.find('\0'));
    text.remove_prefix(part.size() + 1);
    return std::string(part);
  };
  Values values;
  while (!text.empty()) {
    const std::string name = next();
    values[name] = next();
  }
  return values;
}

std::string shown(const Values& values, const std::string& name) {
  constexpr std::size_t kMaxShown = 80;
  const auto found = values.find(name);
  if (found == values.end()) return "unset";
  return found->second.size() <= kMaxShown ? found->second : found->second.substr(0, kMaxShown) + "...";
}

// "seed (2, rank 0: 1), ..."; empty where all are the same.
std::string differences(const Values& mine, const Values& of_root) {
  Values names = mine;
  names.insert(of_root.begin(), of_root.end());
  std::string text;
  for (const auto& [name, value] : names) {
    if (mine.contains(name) && of_root.contains(name) && mine.at(name) == of_root.at(name)) continue;
    text +=
        fmt::format("{}{} ({}, rank 0: {})", text.empty() ? "" : ", ", name, shown(mine, name), shown(of_root, name));
  }
  return text;
}

}  // namespace

void require_same_values_on_all_ranks(Communicator& communicator, const Values& values, std::string_view what) {
  const std::string text = join(values);
  const std::string hash = ContentHash().field(text).hex();
  const std::vector<Bytes> hashes = communicator.all_gather(std::as_bytes(std::span(hash)), what);
  if (std::all_of(hashes.begin(), hashes.end(), [&](const Bytes& other) { return other == hashes[0]; })) return;

  const std::string mine = differences(values, split(broadcast_text(communicator, text, 0, what)));
  const std::vector<Bytes> all = communicator.all_gather(std::as_bytes(std::span(mine)), what);
  std::map<std::string, std::vector<std::size_t>> ranks_that_differ_in;
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (!all[rank].empty()) ranks_that_differ_in[text_of(all[rank])].push_back(rank);
  }
  std::string message;
  for (const auto& [names, ranks] : ranks_that_differ_in) {
    message += fmt::format(
        "{}{} {} from rank 0 in {}", message.empty() ? "" : "; ",
        ranks.size() == 1 ? fmt::format("rank {}", ranks[0]) : fmt::format("ranks {}", fmt::join(ranks, ", ")),
        ranks.size() == 1 ? "differs" : "differ", names);
  }
  throw Error(ExitCode::communication, message, kStartAlike);
}

void require_same_on_all_ranks(Communicator& communicator, std::string_view value, std::string_view what) {
  const std::vector<Bytes> values = communicator.all_gather(std::as_bytes(std::span(value)), what);
  for (std::size_t rank = 1; rank < values.size(); ++rank) {
    if (values[rank] == values[0]) continue;
    throw Error(ExitCode::communication, fmt::format("rank {} and rank 0 differ in {}", rank, what), kStartAlike);
  }
}

}  // namespace bertdist
