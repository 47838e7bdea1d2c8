// Blocks' state outlives a launch: its pages, once touched, cost more than many launches. A launch
// takes as many as it has threads and gives them back, so they belong to no thread.
#pragma once

#include <stdlib.h>

#include <wavejit/simt/block.h>

namespace wavejit::simt {

inline constexpr unsigned kIdleBlocks = 16;  // what a launch needs beyond is unmapped after it

[[gnu::visibility("hidden")]] inline constinit Block* idle_blocks[kIdleBlocks] = {};

inline size_t state_bytes() {
  const size_t page = Stacks::page();
  return (sizeof(Block) + page - 1) / page * page;
}

inline size_t mapped_bytes() { return state_bytes() + kMaxLanes * Stacks::stride(); }

// Null when there is no memory.
inline Block* take_block() {
  for (Block*& idle : idle_blocks) {
    Block* block = __atomic_exchange_n(&idle, nullptr, __ATOMIC_ACQ_REL);
    if (block != nullptr) return block;
  }
  void* memory = mmap(nullptr, mapped_bytes(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  Block* block = static_cast<Block*>(memory);
  block->stacks.place(static_cast<char*>(memory) + state_bytes());
  return block;
}

inline void give_back(Block* block) {
  for (Block*& idle : idle_blocks) {
    Block* none = nullptr;
    if (__atomic_compare_exchange_n(&idle, &none, block, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED)) {
      return;
    }
  }
  free(block->dynamic_shared);
  munmap(block, mapped_bytes());
}

}  // namespace wavejit::simt
