#pragma once

// What tests can make the stand-in for CUDA and NCCL do. All of it concerns this process alone.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <functional>

namespace bertdist::stand_in {

void set_num_devices(int num_devices);  // 8 at the start; 0 is a machine without a driver
// Every process sees one GPU of its own, as under --gpus-per-task=1.
void show_own_device_only(int device);

// Into a stream's queue.
void enqueue(cudaStream_t stream, std::function<void()> work);
// Streams pause for random times before each piece of their work.
void set_random_pauses(bool are_on);
// With false, streams run ahead of what they should wait for: to see that a test would notice.
void set_event_waits(bool are_kept);

// NCCL's work of this process does not start, as on a device that hangs, until it is set to false or aborted.
void hold_collectives(bool hold);
// All communicators of this process are in this state from now on.
void set_async_error(ncclResult_t error);
int num_aborts();

}  // namespace bertdist::stand_in
