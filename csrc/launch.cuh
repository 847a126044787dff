// Launching: the device guard, grid sizes, and the check right after.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "matrix.h"
#include "segments.h"

// The one place where launch syntax occurs; the tests' emulator defines its own.
#ifndef LANDSCAPE_LAUNCH
#define LANDSCAPE_LAUNCH(kernel, blocks, threads, stream, ...)          \
  do {                                                                  \
    kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__);                \
    ::landscape::cuda::check(cudaGetLastError(), "launch of " #kernel); \
  } while (false)
#endif

namespace landscape::cuda {

constexpr int kThreads = 256;

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
  }
}

// Makes the device of an argument current, and puts the caller's back.
class DeviceGuard {
 public:
  explicit DeviceGuard(const Device& device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    changed_ = before_ != device.index;
    if (changed_) check(cudaSetDevice(device.index), "cudaSetDevice");
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Chunks of columns, one per thread block: some for every multiprocessor of a large GPU, few enough
// that their sums are quickly joined.
inline Segments chunks_of(int64_t columns) { return segments(columns, 512, 4096); }

inline cudaStream_t stream_of(const Matrix& m) {
  return static_cast<cudaStream_t>(m.device.stream);
}

// Blocks along the one grid dimension that every launch uses.
inline unsigned grid(int64_t blocks) {
  if (blocks > INT32_MAX) {
    throw std::runtime_error("CUDA: " + std::to_string(blocks) +
                             " thread blocks exceed a grid; split the rows of the block");
  }
  return static_cast<unsigned>(blocks);
}

}  // namespace landscape::cuda
