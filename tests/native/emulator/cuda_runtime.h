// CUDA on a CPU, for tests: found before the toolkit's header of this name, it lets the .cu files
// compile as host C++ and runs the threads of a block as fibers.
//
// Two schedules. The fair one runs every thread to its next barrier or shuffle in turn; it hides
// most missing barriers. The greedy one runs a warp alone until all its lanes wait at a barrier or
// have returned, warps and lanes in random order; what a barrier ought to protect is then seen
// unprotected. Reported as errors: a thread that returns while others wait at a barrier, a shuffle
// whose mask names a lane that is elsewhere, lanes that disagree about the mask, a source outside it.
// Blocks run one after another. Memory order, speed and everything asynchronous are not covered.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline

using cudaError_t = int;
using cudaStream_t = void*;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetDevice(int* device) { return *device = 0; }
inline cudaError_t cudaSetDevice(int) { return 0; }
inline const char* cudaGetErrorString(cudaError_t) { return "none"; }

struct Position {
  unsigned x;
};
extern Position threadIdx, blockIdx;

namespace emulator {

struct Schedule {
  bool greedy = false;
  uint64_t seed = 0;
};
extern Schedule schedule;

void launch(unsigned blocks, unsigned threads, const std::function<void()>& kernel);
void barrier();
// Offers 64 bits to the lanes of `mask` and returns those offered by lane `source`.
uint64_t shuffle(unsigned mask, uint64_t value, unsigned source);

template <typename T>
T shuffle_any(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "one register pair at most");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emulator

inline void __syncthreads() { emulator::barrier(); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return emulator::shuffle_any(mask, value, static_cast<unsigned>(source) % 32);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return emulator::shuffle_any(mask, value, threadIdx.x % 32 ^ static_cast<unsigned>(lanes));
}

#define LANDSCAPE_LAUNCH(kernel, blocks, threads, stream, ...) \
  ((void)(stream), emulator::launch(blocks, threads, [&] { kernel(__VA_ARGS__); }))
