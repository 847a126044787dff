// Rows of random signs and Gaussians.
#pragma once

#include "../gaussian.h"
#include "kernels.h"

namespace landscape::cpu {
namespace {

constexpr int kBlocks = 16;  // Philox blocks drawn together, in the lanes of a vector

// words[t][s] is word t of the block `low + s`
inline void draw(uint64_t low, uint64_t row, uint64_t seed, uint32_t (&words)[4][kBlocks]) {
  for (int s = 0; s < kBlocks; ++s) {
    const Words drawn = philox(low + s, row, seed);
    for (int t = 0; t < 4; ++t) words[t][s] = drawn.w[t];
  }
}

template <typename scalar_t>
struct SignGroup {
  static constexpr int64_t kEntries = kBlocks * kSignEntries;

  static void fill(scalar_t* out, uint64_t group, uint64_t row, uint64_t seed) {
    uint32_t words[4][kBlocks];
    draw(group * kBlocks, row, seed, words);
    for (int s = 0; s < kBlocks; ++s) {
      for (int t = 0; t < 4; ++t) {
        const uint32_t word = words[t][s];
        for (int bit = 0; bit < 32; ++bit) {
          *out++ = static_cast<scalar_t>(1 - 2 * static_cast<int32_t>((word >> bit) & 1));
        }
      }
    }
  }
};

template <typename scalar_t>
struct NormalGroup {
  static constexpr int64_t kEntries = kNormalGroup;
  static_assert(kBlocks == kNormalBlocks, "one vector of blocks is one group");

  static void fill(scalar_t* out, uint64_t group, uint64_t row, uint64_t seed) {
    uint32_t words[4][kBlocks];
    draw((group * kBlocks) | kNormalStream, row, seed, words);
    for (int t = 0; t < 4; t += 2) {
      for (int s = 0; s < kBlocks; ++s) {
        const Pair pair = gaussian_pair(words[t][s], words[t + 1][s]);
        out[t * kBlocks + s] = static_cast<scalar_t>(pair.first);
        out[(t + 1) * kBlocks + s] = static_cast<scalar_t>(pair.second);
      }
    }
  }
};

// Whole groups go straight to `out`; the cut ones at either end through a buffer.
template <template <typename> class Group, typename scalar_t>
void fill_row(scalar_t* out, int64_t count, uint64_t seed, uint64_t row, uint64_t entry) {
  constexpr int64_t kEntries = Group<scalar_t>::kEntries;
  uint64_t group = entry / kEntries;
  int64_t skip = static_cast<int64_t>(entry % kEntries);
  while (count > 0) {
    if (skip == 0 && count >= kEntries) {
      Group<scalar_t>::fill(out, group, row, seed);
      out += kEntries;
      count -= kEntries;
    } else {
      scalar_t whole[kEntries];
      Group<scalar_t>::fill(whole, group, row, seed);
      const int64_t taken = count < kEntries - skip ? count : kEntries - skip;
      __builtin_memcpy(out, whole + skip, taken * sizeof(scalar_t));
      out += taken;
      count -= taken;
      skip = 0;
    }
    ++group;
  }
}

}  // namespace
}  // namespace landscape::cpu
