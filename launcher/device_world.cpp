#include "device_world.h"

#include "base/error.h"
#ifdef BERTDIST_CUDA
#include "comm/nccl/nccl_world.h"
#endif

namespace bertdist {

MakeWorld world_on_device(bool on_gpu) {
  if (!on_gpu) return &MpiSession::world;
#ifdef BERTDIST_CUDA
  return &make_nccl_world;
#else
  throw Error(ExitCode::device, "device = \"cuda\", but this bertdist was built for CPUs",
              "build it for GPUs with launcher/setup --cuda, or compute on the CPU with device = \"cpu\"");
#endif
}

}  // namespace bertdist
