#include "comm/nccl/cuda_device.h"

#include <fmt/core.h>

#include "base/error.h"

namespace bertdist {

namespace {

// As nvidia-smi prints it.
std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    const bool begins_group = i == 0 || i == 4 || i == 6 || i == 8 || i == 10;
    text += fmt::format("{}{:02x}", begins_group ? "-" : "", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

}  // namespace

void check_cuda(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  throw Error(ExitCode::device, fmt::format("{}: CUDA failed: {}", what, cudaGetErrorString(status)));
}

std::string CudaDevice::to_string() const {
  return fmt::format("CUDA device {}, {}", index, name);
}

CudaDevice take_cuda_device(int local_rank) {
  CudaDevice device;
  const cudaError_t status = cudaGetDeviceCount(&device.num_visible);
  if (status != cudaSuccess || device.num_visible == 0) {
    throw Error(ExitCode::device,
                fmt::format("there is no CUDA device: {}",
                            status == cudaSuccess ? "the driver shows none" : cudaGetErrorString(status)),
                "see nvidia-smi, and whether CUDA_VISIBLE_DEVICES hides them, or compute on the CPU with device = "
                "\"cpu\"");
  }
  device.index = local_rank % device.num_visible;
  check_cuda(cudaSetDevice(device.index), "taking a CUDA device");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index), "looking at a CUDA device");
  char pci_bus_id[32] = {};
  check_cuda(cudaDeviceGetPCIBusId(pci_bus_id, sizeof(pci_bus_id), device.index), "looking at a CUDA device");
  device.name = properties.name;
  device.uuid = uuid_text(properties.uuid);
  device.pci_bus_id = pci_bus_id;
  return device;
}

}  // namespace bertdist
