// The last of the wanted among a few candidates: all pairs at once.
#pragma once
#include <wavejit/select/bins.cuh>

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

// The same of at most kGroupSize candidates; every group that calls it gets the answer.
__device__ __forceinline__ uint64_t last_of_few(const uint64_t (&candidates)[kRanked],
                                                uint32_t count, uint32_t wanted,
                                                Site at = Site::here()) {
  const unsigned lane = lane_in_group();
  const uint64_t mine = lane < count ? candidates[lane] : 0;
  uint32_t larger = 0;
  for (uint32_t i = 0; i < count; ++i) larger += candidates[i] > mine;
  const uint64_t lanes = ballot<kGroupSize>(larger == wanted - 1, at);
  return candidates[lowest_bit(static_cast<uint32_t>(lanes))];
}

}  // namespace wavejit
