// Blocks that work on one thing and let the last of them finish it: nobody waits for anybody, so it
// does not matter in what order, or how many at a time, a machine runs its blocks.
#pragma once
#include <wavejit/platform/platform.cuh>

namespace wavejit {

// Whether this block is the last of `count` to arrive at `counter`, which is 0 before and again
// afterwards; the same in every lane, and every lane of the block calls it. What the blocks stored
// before they arrived, the last one may load.
__device__ __forceinline__ bool arrives_last(uint32_t* counter, uint32_t count, bool& shared_flag,
                                             Site at = Site::here()) {
  sync_block(at);
  if (thread_x() == 0) {
    platform::fence_device();
    shared_flag = platform::fetch_add(counter, 1) == count - 1;
    if (shared_flag) {
      platform::fence_device();
      *counter = 0;
    }
  }
  sync_block(at);
  return shared_flag;
}

}  // namespace wavejit
