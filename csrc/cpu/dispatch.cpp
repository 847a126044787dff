// Chooses the instruction set once, from what the processor reports.
#include <atomic>
#include <cstring>

#include "kernels.h"

namespace landscape::cpu {

#ifdef LANDSCAPE_X86
extern const InstructionSet avx512, avx2;
#endif
extern const InstructionSet baseline;

namespace {

// Widest first.
const InstructionSet* const kSets[] = {
#ifdef LANDSCAPE_X86
    &avx512, &avx2,
#endif
    &baseline};

const InstructionSet* find(const char* name) {
  for (const InstructionSet* set : kSets) {
    if (set->supported() && (name == nullptr || std::strcmp(set->name, name) == 0)) return set;
  }
  return nullptr;
}

std::atomic<const InstructionSet*>& selected() {
  static std::atomic<const InstructionSet*> set{find(nullptr)};
  return set;
}

}  // namespace

const InstructionSet& instruction_set() { return *selected().load(std::memory_order_relaxed); }

bool select(const char* name) {
  const InstructionSet* set = find(name);
  if (set != nullptr) selected().store(set, std::memory_order_relaxed);
  return set != nullptr;
}

}  // namespace landscape::cpu
