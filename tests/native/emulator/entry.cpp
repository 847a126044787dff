// The launchers as C functions. Each returns null, or what went wrong.
#include <cmath>
#include <limits>
#include <vector>

#include "cuda_runtime.h"
#include "kernels.h"

using landscape::Matrix;
using landscape::Scalar;

extern "C" {

struct Block {
  void* data;
  int64_t rows, columns, stride;
  int is_float64;
};

void set_schedule(int greedy, uint64_t seed) { emulator::schedule = {greedy != 0, seed}; }
}

namespace {

std::string message;

Matrix matrix(const Block& b) {
  return {b.data, b.rows, b.columns, b.stride, b.is_float64 ? Scalar::float64 : Scalar::float32,
          {true, 0, nullptr}};
}

template <typename Work>
const char* report(const Work& work) {
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

}  // namespace

extern "C" {

const char* emulated_signs(Block out, uint64_t seed, uint64_t row, uint64_t entry) {
  return report([&] { landscape::cuda::signs(matrix(out), seed, row, entry); });
}

const char* emulated_normals(Block out, uint64_t seed, uint64_t row, uint64_t entry) {
  return report([&] { landscape::cuda::normals(matrix(out), seed, row, entry); });
}

const char* emulated_row_dots(Block x, Block y, double* dots) {
  return report_with_scratch(
      landscape::cuda::row_dots_scratch(x.rows, x.columns),
      [&](double* scratch) { landscape::cuda::row_dots(matrix(x), matrix(y), dots, scratch); });
}

const char* emulated_block_dots(Block x, Block y, double* dots) {
  return report_with_scratch(
      landscape::cuda::block_dots_scratch(x.rows, y.rows, x.columns),
      [&](double* scratch) { landscape::cuda::block_dots(matrix(x), matrix(y), dots, scratch); });
}

const char* emulated_block_update(Block y, Block c, Block basis) {
  return report([&] { landscape::cuda::block_update(matrix(y), matrix(c), matrix(basis)); });
}

const char* emulated_orthogonalise(Block block, Block basis, double* coefficients) {
  return report_with_scratch(
      landscape::cuda::orthogonalise_scratch(block.rows, basis.rows, block.columns),
      [&](double* scratch) {
        landscape::cuda::orthogonalise(matrix(block), matrix(basis), coefficients, scratch);
      });
}
}
