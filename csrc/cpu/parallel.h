// How threads share tasks, and when they are worth waking.
#pragma once

#include <omp.h>

#include "../segments.h"

namespace landscape::cpu {

// Enough segments for the threads of a large machine, each long enough to hide what it costs to
// join it.
inline Segments segments(int64_t columns) { return landscape::segments(columns, 128, 8192); }

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
