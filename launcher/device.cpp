#include "device.h"

#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"

namespace bertdist {

namespace {

#ifdef BERTDIST_CUDA
constexpr bool kIsCudaBuild = true;
#else
constexpr bool kIsCudaBuild = false;
#endif

struct NvidiaDevices {
  bool has_driver = false;
  int count = 0;  // those that CUDA_VISIBLE_DEVICES leaves
};

// From the driver itself, which both builds can ask, and which a build for CPUs does without.
NvidiaDevices find_nvidia_devices() {
  void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return {};
  NvidiaDevices devices{.has_driver = true};
  const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDeviceGetCount"));
  const bool answers = init != nullptr && count != nullptr && init(0) == 0 && count(&devices.count) == 0;
  if (!answers) devices.count = 0;
  // The driver stays loaded: threads that it may have started would lose their code.
  return devices;
}

}  // namespace

void require_fitting_device(const Config& config) {
  if (config.device == "cpu") return;
  if (!kIsCudaBuild && config.device == "cuda") {
    throw Error(ExitCode::device, "device = \"cuda\", but this bertdist was built for CPUs",
                "build it for GPUs with launcher/setup --cuda, or compute on the CPU with device = \"cpu\"");
  }
  // Otherwise CUDA loads all of libtorch's kernels when it starts. The environment is what the program that computes
  // has.
  ::setenv("CUDA_MODULE_LOADING", "LAZY", /*overwrite=*/0);
  const NvidiaDevices devices = find_nvidia_devices();
  if (!kIsCudaBuild && devices.count > 0) {
    throw Error(ExitCode::device, "this machine has an NVIDIA GPU, but this bertdist was built for CPUs",
                "build it for GPUs with launcher/setup --cuda, or compute on the CPU with device = \"cpu\"");
  }
  if (!kIsCudaBuild) return;
  if (!devices.has_driver) {
    throw Error(ExitCode::device, "this bertdist was built for NVIDIA GPUs, but there is no NVIDIA driver here",
                "run it where nvidia-smi shows a GPU, or compute on the CPU with device = \"cpu\"");
  }
  if (devices.count == 0) {
    throw Error(ExitCode::device, "this bertdist was built for NVIDIA GPUs, but the driver shows it none",
                "see nvidia-smi, and whether CUDA_VISIBLE_DEVICES hides them, or compute on the CPU with device = "
                "\"cpu\"");
  }
}

bool computes_on_gpu(const Config& config) {
  return config.device == "cuda" || (config.device == "auto" && kIsCudaBuild);
}

}  // namespace bertdist
