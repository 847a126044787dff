// Kernels with one planted fault each: what the emulator must report, and how.
#include "cuda_runtime.h"

namespace {

void early_return(float*) {
  if (threadIdx.x == 7) return;
  __syncthreads();
}

void lane_elsewhere(float* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xFFFFFFFFu, out[threadIdx.x], 0);
}

void other_mask(float* out) {
  const unsigned mask = threadIdx.x < 16 ? 0xFFFFFFFFu : 0xFFFF0000u;
  out[threadIdx.x] = __shfl_sync(mask, out[threadIdx.x], 20);
}

void outside_mask(float* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000FFFFu, out[threadIdx.x], 20);
}

void sound(float* out) {
  __shared__ float first;
  if (threadIdx.x == 0) first = 5;
  __syncthreads();
  out[threadIdx.x] = first + __shfl_xor_sync(0xFFFFFFFFu, static_cast<float>(threadIdx.x), 1);
}

std::string message;

}  // namespace

extern "C" const char* planted(int fault, float* out) {
  void (*const kernels[])(float*) = {sound, early_return, lane_elsewhere, other_mask, outside_mask};
  try {
    LANDSCAPE_LAUNCH(kernels[fault], 2, 64, nullptr, out);
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
  return nullptr;
}
