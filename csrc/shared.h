// Functions that the CPU loops and the CUDA kernels share, so that both compute the same.
#pragma once

#ifdef __CUDACC__
#define LANDSCAPE_SHARED __host__ __device__ __forceinline__
#else
#define LANDSCAPE_SHARED inline __attribute__((always_inline))
#endif
