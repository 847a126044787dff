// Counter-based random numbers, as arithmetic shared by the CPU loops and the CUDA kernels.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3",
// doi:10.1145/2063384.2063405) maps a 128-bit counter and a 64-bit key to 128 random bits. The key
// is the seed; the counter's upper half is the row, its lower half a block of entries:
//
//   signs     block b holds the 128 entries from 128 b on, one bit each: entry 32 t + s of the
//             block is bit s of word t, set for -1
//   normals   16 blocks hold 64 entries: entry 64 g + 16 t + s is the t-th Gaussian of block
//             16 g + s, so that sixteen lanes or threads write neighbours; bit 63 of the lower
//             half is set, which no sign block reaches: the two streams share no counter
#pragma once

#include <cstdint>

#include "shared.h"

namespace landscape {
namespace {

constexpr uint64_t kSignEntries = 128;  // per counter block
constexpr uint64_t kNormalGroup = 64;   // entries of kNormalBlocks counter blocks
constexpr uint64_t kNormalBlocks = 16;
constexpr uint64_t kNormalStream = uint64_t{1} << 63;

struct Words {
  uint32_t w[4];
};

LANDSCAPE_SHARED Words philox(uint64_t low, uint64_t high, uint64_t key) {
  uint32_t c0 = static_cast<uint32_t>(low), c1 = static_cast<uint32_t>(low >> 32);
  uint32_t c2 = static_cast<uint32_t>(high), c3 = static_cast<uint32_t>(high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace
}  // namespace landscape
