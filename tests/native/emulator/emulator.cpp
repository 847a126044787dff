#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "cuda_runtime.h"

Position threadIdx, blockIdx;

namespace emulator {

Schedule schedule;

namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 64 * 1024;

enum class State { ready, at_barrier, at_shuffle, returned };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  State state;
  unsigned mask, source;
  uint64_t offered, received;
};

std::vector<Fiber> fibers;
ucontext_t scheduler;
const std::function<void()>* body;
unsigned current;

[[noreturn]] void fail(unsigned thread, const std::string& what) {
  throw std::runtime_error("block " + std::to_string(blockIdx.x) + ", thread " +
                           std::to_string(thread) + ": " + what);
}

void enter() {
  (*body)();
  fibers[current].state = State::returned;
}

void wait(State state) {
  fibers[current].state = state;
  swapcontext(&fibers[current].context, &scheduler);
}

void resume(unsigned thread) {
  current = thread;
  threadIdx.x = thread;
  swapcontext(&scheduler, &fibers[thread].context);
}

// Completes the shuffle of a warp whose lanes all wait or have returned; false if there is none.
bool complete_shuffle(unsigned first, unsigned end) {
  unsigned leader = first;
  while (leader < end && fibers[leader].state != State::at_shuffle) ++leader;
  if (leader == end) return false;
  const unsigned mask = fibers[leader].mask;
  if ((mask >> (leader - first) & 1) == 0) fail(leader, "shuffles under a mask without itself");
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const unsigned thread = first + lane;
    if (thread >= end || fibers[thread].state != State::at_shuffle) {
      fail(leader, "shuffle waits for lane " + std::to_string(lane) + ", which is elsewhere");
    }
    if (fibers[thread].mask != mask) fail(thread, "mismatched shuffle masks in one warp");
    if ((mask >> fibers[thread].source & 1) == 0) fail(thread, "shuffle source outside the mask");
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Fiber& fiber = fibers[first + lane];
    fiber.received = fibers[first + fiber.source].offered;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (mask >> lane & 1) fibers[first + lane].state = State::ready;
  }
  return true;
}

// True if the block may go on, false if all its threads have returned.
bool release_barrier() {
  const auto waits = [](const Fiber& fiber) { return fiber.state == State::at_barrier; };
  if (std::none_of(fibers.begin(), fibers.end(), waits)) return false;
  for (unsigned thread = 0; thread < fibers.size(); ++thread) {
    if (!waits(fibers[thread])) fail(thread, "returned while others wait at a barrier");
  }
  for (Fiber& fiber : fibers) fiber.state = State::ready;
  return true;
}

// Runs the ready lanes of one warp once, in the given order; false if none was ready.
bool step_warp(unsigned first, const std::vector<unsigned>& lanes) {
  bool any = false;
  for (const unsigned lane : lanes) {
    if (first + lane >= fibers.size() || fibers[first + lane].state != State::ready) continue;
    resume(first + lane);
    any = true;
  }
  return any;
}

void run_block(std::mt19937_64& random) {
  const unsigned threads = static_cast<unsigned>(fibers.size());
  std::vector<unsigned> warps, lanes(kWarp);
  for (unsigned first = 0; first < threads; first += kWarp) warps.push_back(first);
  for (unsigned lane = 0; lane < kWarp; ++lane) lanes[lane] = lane;
  do {
    if (schedule.greedy) std::shuffle(warps.begin(), warps.end(), random);
    for (bool moved = true; moved;) {
      moved = false;
      for (const unsigned first : warps) {
        const unsigned end = std::min(first + kWarp, threads);
        do {
          if (schedule.greedy) std::shuffle(lanes.begin(), lanes.end(), random);
          moved |= step_warp(first, lanes);
        } while (complete_shuffle(first, end) && schedule.greedy);
        moved |= std::any_of(fibers.begin() + first, fibers.begin() + end,
                             [](const Fiber& fiber) { return fiber.state == State::ready; });
      }
    }
  } while (release_barrier());
}

}  // namespace

void barrier() { wait(State::at_barrier); }

uint64_t shuffle(unsigned mask, uint64_t value, unsigned source) {
  Fiber& self = fibers[current];
  self.mask = mask;
  self.offered = value;
  self.source = source;
  wait(State::at_shuffle);
  return self.received;
}

void launch(unsigned blocks, unsigned threads, const std::function<void()>& kernel) {
  std::mt19937_64 random(schedule.seed);
  body = &kernel;
  fibers.resize(threads);
  for (unsigned block = 0; block < blocks; ++block) {
    blockIdx.x = block;
    for (Fiber& fiber : fibers) {
      getcontext(&fiber.context);
      fiber.context.uc_stack = {fiber.stack.get(), 0, kStack};
      fiber.context.uc_link = &scheduler;
      makecontext(&fiber.context, enter, 0);
      fiber.state = State::ready;
    }
    run_block(random);
  }
}

}  // namespace emulator
