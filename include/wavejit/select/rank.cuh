// The last of the wanted among a few candidates: all pairs at once.
#pragma once
#include <wavejit/core/warp.cuh>

namespace wavejit {

inline constexpr int kMaxSelected = 2048;
inline constexpr uint32_t kRanked = 256;  // candidates, at most

// The candidate that `wanted - 1` are larger than goes to `last`; a barrier must follow. kGroups
// groups call it, behind a barrier.
template <unsigned kGroups>
__device__ __forceinline__ void find_last(const uint64_t (&candidates)[kRanked], uint32_t count,
                                          uint32_t wanted, uint64_t& last, Site at = Site::here()) {
#pragma unroll 1
  for (uint32_t i = thread_x() / kGroupSize; i < count; i += kGroups) {
    const uint64_t mine = candidates[i];
    uint32_t larger = 0;
    for (uint32_t first = 0; first < count; first += kGroupSize) {
      const uint32_t other = first + lane_in_group();
      larger += count_lanes(other < count && candidates[other] > mine, at);
    }
    if (larger == wanted - 1 && lane_in_group() == 0) last = mine;
  }
}

}  // namespace wavejit
