// The launchers of sums of squares as C functions.
#include "entry.h"

extern "C" const char* emulated_square_sums(const Pieces* block, double* sums) {
  const landscape::Tangents of = tangents(*block);
  return report_with_scratch(landscape::cuda::square_sums_scratch(of), [&](double* scratch) {
    landscape::cuda::square_sums(of, sums, scratch);
  });
}
