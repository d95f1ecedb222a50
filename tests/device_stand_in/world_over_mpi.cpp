#include "device_world.h"

namespace bertdist {

MakeWorld world_on_device(bool) {
  return &MpiSession::world;
}

}  // namespace bertdist
