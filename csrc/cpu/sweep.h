// One pass over all columns of a block and a basis: update the block, take inner products, or both.
#pragma once

#include "../matrix.h"

namespace landscape::cpu {

// Where c is given,      y[i, j] -= sum_l c[i, l] basis[l, j]
// then, where dots is,   dots[i, l] = sum_j y[i, j] basis[l, j]    with y as just stored.
//
// y: (k, n); c: (k, m) with adjacent rows; basis: (m, n); dots: (k, m). Both steps follow one
// another tile by tile, so that doing both reads the basis from memory once.
template <typename scalar_t>
void sweep(const Matrix& y, const double* c, const Matrix& basis, double* dots);

// Rows of a block that are worked on together when it meets m rows: their sums stay in cache.
int64_t panel_rows(int64_t m);

}  // namespace landscape::cpu
