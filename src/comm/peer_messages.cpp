#include "comm/peer_messages.h"

#include <exception>
#include <utility>

namespace bertdist {

PeerMessages::PeerMessages(MPI_Comm world) {
  MPI_Comm_dup(world, &comm_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
}

PeerMessages::~PeerMessages() {
  // What a stopped rank never took is given up with the communicator.
  if (std::uncaught_exceptions() == 0 && sending_.empty()) MPI_Comm_free(&comm_);
}

void PeerMessages::send(int rank, Kind kind, std::span<const std::byte> bytes) {
  Sending& sending = sending_.emplace_back(Sending{MPI_REQUEST_NULL, {bytes.begin(), bytes.end()}});
  MPI_Isend(sending.bytes.data(), static_cast<int>(sending.bytes.size()), MPI_BYTE, rank, static_cast<int>(kind), comm_,
            &sending.request);
}

std::optional<PeerMessages::Message> PeerMessages::receive() {
  std::erase_if(sending_, [](Sending& sending) {
    int done = 0;
    MPI_Test(&sending.request, &done, MPI_STATUS_IGNORE);
    return done != 0;
  });
  int arrived = 0;
  MPI_Status status{};
  MPI_Message handle = MPI_MESSAGE_NULL;
  if (MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &arrived, &handle, &status) != MPI_SUCCESS || arrived == 0) {
    return std::nullopt;
  }
  int size = 0;
  MPI_Get_count(&status, MPI_BYTE, &size);
  Message message{static_cast<Kind>(status.MPI_TAG), status.MPI_SOURCE,
                  std::vector<std::byte>(static_cast<std::size_t>(size))};
  MPI_Mrecv(message.bytes.data(), size, MPI_BYTE, &handle, MPI_STATUS_IGNORE);
  return message;
}

}  // namespace bertdist
