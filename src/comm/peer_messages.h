#pragma once

#include <mpi.h>

#include <cstddef>
#include <list>
#include <optional>
#include <span>
#include <vector>

namespace bertdist {

// Small messages between any two ranks that the receiver takes when it comes to it. Nobody waits for them, so a rank
// that is stopped or dead holds up no one.
class PeerMessages {
 public:
  enum class Kind : int { question = 1, answer = 2, verdict = 3 };
  struct Message {
    Kind kind;
    int source;
    std::vector<std::byte> bytes;
  };

  // Collective. `world` is duplicated.
  explicit PeerMessages(MPI_Comm world);
  ~PeerMessages();
  PeerMessages(const PeerMessages&) = delete;
  PeerMessages& operator=(const PeerMessages&) = delete;

  void send(int rank, Kind kind, std::span<const std::byte> bytes);
  // The next message that has arrived, if there is one.
  std::optional<Message> receive();

 private:
  struct Sending {
    MPI_Request request;
    std::vector<std::byte> bytes;
  };

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::list<Sending> sending_;  // what MPI may still be reading
};

}  // namespace bertdist
