// The launchers as C functions. Each returns null, or what went wrong.
#include "entry.h"

extern "C" {

void set_schedule(int greedy, uint64_t seed) { emulator::schedule = {greedy != 0, seed}; }

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
