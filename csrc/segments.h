// How columns are cut for summing: a rule of the number of columns alone, so that no sum depends on
// how many threads or multiprocessors share the pieces.
#pragma once

#include <algorithm>
#include <cstdint>

namespace landscape {

struct Segments {
  int64_t columns;
  int64_t length;  // of each but the last; a multiple of 512
  int64_t count;

  int64_t begin(int64_t s) const { return s * length; }
  int64_t end(int64_t s) const { return std::min(columns, (s + 1) * length); }
};

// At most `most` segments, each at least `shortest` columns long, a multiple of 512.
inline Segments segments(int64_t columns, int64_t most, int64_t shortest) {
  constexpr int64_t kStep = 512;
  const int64_t even = (columns + most - 1) / most;
  const int64_t length = std::max(shortest, (even + kStep - 1) / kStep * kStep);
  return {columns, length, (columns + length - 1) / length};
}

}  // namespace landscape
