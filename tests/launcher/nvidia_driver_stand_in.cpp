// A libcuda.so.1 that shows one GPU, or as many as NVIDIA_GPUS says.
#include <cstdlib>

extern "C" {

int cuInit(unsigned);
int cuDeviceGetCount(int* count);

int cuInit(unsigned) {
  return 0;
}

int cuDeviceGetCount(int* count) {
  const char* const given = std::getenv("NVIDIA_GPUS");
  *count = given == nullptr ? 1 : std::atoi(given);
  return 0;
}
}
