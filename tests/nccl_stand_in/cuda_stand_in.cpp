// CUDA's runtime in host memory: a stream is a thread with a queue, an event a place in one.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "nccl_stand_in/stand_in.h"

namespace {

std::atomic<int> num_devices{8};
std::atomic<int> only_device{-1};
std::atomic<bool> has_random_pauses{false};
std::atomic<bool> keeps_event_waits{true};
thread_local int current_device = 0;

// One for all streams: what one does, others may wait for. Never destroyed, because streams may outlive main.
std::mutex& mutex = *new std::mutex;
std::condition_variable& changed = *new std::condition_variable;

}  // namespace

struct CUstream_st {
  std::deque<std::function<void()>> queue;
  bool is_working = false;
  bool ends = false;
  std::jthread thread;

  CUstream_st() : thread([this] { run(); }) {}
  ~CUstream_st() {
    {
      const std::lock_guard lock(mutex);
      ends = true;
    }
    changed.notify_all();
  }

  void run() {
    std::minstd_rand random(std::random_device{}());
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return ends || !queue.empty(); });
      if (queue.empty()) return;
      const std::function<void()> work = std::move(queue.front());
      queue.pop_front();
      is_working = true;
      lock.unlock();
      if (has_random_pauses) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      work();
      lock.lock();
      is_working = false;
      changed.notify_all();
    }
  }

  void push(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex);
      queue.push_back(std::move(work));
    }
    changed.notify_all();
  }
};

struct CUevent_st {
  std::shared_ptr<bool> reached = std::make_shared<bool>(true);  // of the last record
};

namespace bertdist::stand_in {

void set_num_devices(int count) {
  num_devices = count;
}
void show_own_device_only(int device) {
  only_device = device;
}
void enqueue(cudaStream_t stream, std::function<void()> work) {
  stream->push(std::move(work));
}
void set_random_pauses(bool are_on) {
  has_random_pauses = are_on;
}
void set_event_waits(bool are_kept) {
  keeps_event_waits = are_kept;
}

}  // namespace bertdist::stand_in

extern "C" {

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNotReady:
      return "device not ready";
    default:
      return "invalid argument";
  }
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13010;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = only_device >= 0 ? 1 : num_devices.load();
  return *count > 0 ? cudaSuccess : cudaErrorInsufficientDriver;
}

cudaError_t cudaSetDevice(int device) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || device < 0 || device >= count) return cudaErrorInvalidValue;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const int physical = only_device >= 0 ? only_device.load() : device;
  std::memset(static_cast<void*>(properties), 0, sizeof(*properties));
  std::snprintf(properties->name, sizeof(properties->name), "Stand-in GPU");
  properties->uuid.bytes[0] = 0x42;
  properties->uuid.bytes[15] = static_cast<char>(physical);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int size, int device) {
  std::snprintf(id, static_cast<std::size_t>(size), "0000:%02x:00.0", only_device >= 0 ? only_device.load() : device);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t size) {
  *memory = std::malloc(std::max<std::size_t>(size, 1));
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t size, cudaMemcpyKind, cudaStream_t stream) {
  stream->push([=] {
    if (size > 0) std::memcpy(target, source, size);
  });
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = new CUstream_st;
  return cudaSuccess;
}

// As CUDA's: what is in the queue is still done.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return stream->queue.empty() && !stream->is_working; });
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!keeps_event_waits) return cudaSuccess;
  std::unique_lock lock(mutex);
  const std::shared_ptr<bool> reached = event->reached;
  lock.unlock();
  stream->push([reached] {
    std::unique_lock wait_lock(mutex);
    changed.wait(wait_lock, [&] { return *reached; });
  });
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  stream->push([=] { function(data); });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const auto reached = std::make_shared<bool>(false);
  {
    const std::lock_guard lock(mutex);
    event->reached = reached;
  }
  stream->push([reached] {
    {
      const std::lock_guard lock(mutex);
      *reached = true;
    }
    changed.notify_all();
  });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  return *event->reached ? cudaSuccess : cudaErrorNotReady;
}
}
