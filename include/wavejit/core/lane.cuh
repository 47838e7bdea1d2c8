// Which entry a lane works on when every entry takes kLanes lanes of a one-dimensional grid of
// blocks of kThreads, and which of its lanes it is.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

template <int kThreads, int kLanes>
struct Lane {
  int64_t entry;
  int index;

  __device__ __forceinline__ Lane() {
    if constexpr (kLanes % kThreads == 0) {  // whole blocks an entry: the same for all of a block
      constexpr unsigned kBlocks = kLanes / kThreads;
      entry = block_x() / kBlocks;
      index = static_cast<int>(block_x() % kBlocks * kThreads + thread_x());
    } else {
      const int64_t lane = int64_t{block_x()} * kThreads + thread_x();
      entry = lane / kLanes;
      index = static_cast<int>(lane % kLanes);
    }
  }

  // Blocks for so many entries.
  static constexpr int64_t blocks(int64_t entries) {
    return (entries * kLanes + kThreads - 1) / kThreads;
  }
};

}  // namespace wavejit
