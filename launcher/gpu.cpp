#include "gpu.h"

#include <span>

#include "base/error.h"
#include "torch_setup.h"
#ifdef BERTDIST_CUDA
#include "comm/nccl/cuda_device.h"
#endif

namespace bertdist {

at::Device device_of(const Gpu& gpu) {
  return {at::kCUDA, static_cast<at::DeviceIndex>(gpu.index)};
}

#ifdef BERTDIST_CUDA

Gpu find_gpu(Communicator& communicator) {
  Gpu gpu;
  cudaDeviceProp properties{};
  check_cuda(cudaGetDevice(&gpu.index), "looking at the CUDA device");
  check_cuda(cudaGetDeviceProperties(&properties, gpu.index), "looking at the CUDA device");
  gpu.name = properties.name;
  constexpr std::int64_t kMajor = 1000;
  std::int64_t negative = -(kMajor * properties.major + properties.minor);
  communicator.all_reduce(buffer_of(std::span(&negative, 1)), ReduceOp::max, "lowest compute capability");
  gpu.major = static_cast<int>(-negative / kMajor);
  gpu.minor = static_cast<int>(-negative % kMajor);
  return gpu;
}

#else

Gpu find_gpu(Communicator&) {
  throw Error(ExitCode::device, "this bertdist was built for CPUs", "build it for GPUs with launcher/setup --cuda");
}

#endif

}  // namespace bertdist
