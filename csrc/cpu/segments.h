// How columns are cut into segments, and how threads share them.
//
// The cut depends on the number of columns alone. Every segment is summed serially and segments are
// joined in order, so a sum does not depend on the number of threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace landscape::cpu {

struct Segments {
  int64_t columns;
  int64_t length;  // of each but the last; a multiple of 512
  int64_t count;

  int64_t begin(int64_t s) const { return s * length; }
  int64_t end(int64_t s) const { return std::min(columns, (s + 1) * length); }
};

inline Segments segments(int64_t columns) {
  constexpr int64_t kMost = 128, kShortest = 4096, kStep = 512;
  const int64_t even = (columns + kMost - 1) / kMost;
  const int64_t length = std::max(kShortest, (even + kStep - 1) / kStep * kStep);
  return {columns, length, (columns + length - 1) / length};
}

// Threads to use for work that multiplies or moves `elements` numbers: a parallel region costs some
// microseconds. The test is made here and not in the pragma, whose `if` costs 0.3 us even when
// false.
inline int threads_for(int64_t elements) {
  constexpr int64_t kSerial = 32768;
  return elements <= kSerial ? 1 : omp_get_max_threads();
}

// body(task, thread) for each task, in any order. It must not throw.
template <typename Body>
void for_each_task(int64_t tasks, int threads, const Body& body) {
  if (threads == 1 || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t task = 0; task < tasks; ++task) body(task, omp_get_thread_num());
}

}  // namespace landscape::cpu
