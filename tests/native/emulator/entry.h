// What the C functions of the emulated kernels share.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "kernels.h"

// A tensor with contiguous rows as Python hands it over; no data where it is None.
struct Block {
  void* data;
  int64_t rows, columns, stride;
  int is_float64;
};

// A block of tangents: (K, B, size).
struct Pieces {
  void* data;
  int64_t tangents, batch, size, tangent_stride, batch_stride;
  int is_float64;
};

inline landscape::Scalar scalar(int is_float64) {
  return is_float64 ? landscape::Scalar::float64 : landscape::Scalar::float32;
}

inline landscape::Matrix matrix(const Block& b) {
  return {b.data, b.rows, b.columns, b.stride, scalar(b.is_float64), {true, 0, nullptr}};
}

inline landscape::Tangents tangents(const Pieces& p) {
  return {p.data,         p.tangents,           p.batch,           p.size, p.tangent_stride,
          p.batch_stride, scalar(p.is_float64), {true, 0, nullptr}};
}

template <typename Work>
const char* report(const Work& work) {
  static std::string message;
  try {
    work();
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
  return nullptr;
}

// Scratch full of NaN, with a guard behind it: reading what was never written, or writing past the
// stated size, does not go unseen.
template <typename Work>
const char* report_with_scratch(int64_t size, const Work& work) {
  constexpr int64_t kGuard = 64;
  std::vector<double> scratch(size + kGuard, std::numeric_limits<double>::quiet_NaN());
  return report([&] {
    work(scratch.data());
    for (int64_t e = size; e < size + kGuard; ++e) {
      if (!std::isnan(scratch[e])) throw std::runtime_error("wrote past the scratch");
    }
  });
}
