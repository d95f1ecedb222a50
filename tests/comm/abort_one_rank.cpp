// The last rank ends the job with exit code 7 while the others wait for it.
#include <mpi.h>

#include "comm/communicator.h"

int main() {
  const bertdist::MpiSession session;
  const std::unique_ptr<bertdist::Communicator> communicator = session.world({});
  if (communicator->rank() == communicator->world_size() - 1) {
    communicator->leave();
    communicator->abort(7);
  }
  communicator->barrier("nobody passes this");
}
