#pragma once

// Device memory for tests, of CUDA or of its stand-in.
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <vector>

#include "comm/communicator.h"
#include "comm/nccl/cuda_device.h"

namespace bertdist {

class TestStream {
 public:
  TestStream() { check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, 0), "test"); }
  ~TestStream() { cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// A copy of a host buffer on the device.
class DeviceCopy {
 public:
  DeviceCopy(const Buffer& host, cudaStream_t stream) : host_(host), stream_(stream) {
    check_cuda(cudaMalloc(&data_, size()), "test");
    check_cuda(cudaMemcpyAsync(data_, host.data, size(), cudaMemcpyHostToDevice, stream), "test");
  }
  ~DeviceCopy() { cudaFree(data_); }
  DeviceCopy(const DeviceCopy&) = delete;
  DeviceCopy& operator=(const DeviceCopy&) = delete;

  Buffer buffer() const { return {data_, host_.count, host_.dtype, Memory::device, stream_}; }
  // Into the host buffer, after what the stream has in its queue; waits for it.
  void fetch() {
    check_cuda(cudaMemcpyAsync(host_.data, data_, size(), cudaMemcpyDeviceToHost, stream_), "test");
    check_cuda(cudaStreamSynchronize(stream_), "test");
  }

 private:
  std::size_t size() const { return host_.count * size_of(host_.dtype); }

  Buffer host_;
  cudaStream_t stream_;
  void* data_ = nullptr;
};

}  // namespace bertdist
