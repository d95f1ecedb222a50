#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <string_view>

namespace bertdist {

// Throws Error(device) with CUDA's own words for a status that is none of success. A pending status of earlier work on
// the device may be what comes out.
void check_cuda(cudaError_t status, std::string_view what);

// The CUDA device of a rank.
struct CudaDevice {
  int index = 0;           // among those that the process sees
  int num_visible = 0;     // so many does it see
  std::string name;        // "NVIDIA H100 80GB HBM3"
  std::string uuid;        // "GPU-6d9a…", of the device itself, whatever its index
  std::string pci_bus_id;  // "0000:1a:00.0"

  std::string to_string() const;  // "CUDA device 0, NVIDIA H100 80GB HBM3"
};

// Takes device `local_rank` modulo those that are visible, for this thread: under SLURM's --gpus-per-task=1 each rank
// sees one, under mpirun all ranks see all. Throws Error(device) where there is no driver or no device.
CudaDevice take_cuda_device(int local_rank);

}  // namespace bertdist
