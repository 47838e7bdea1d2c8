// The valid rows of all experts as one sequence: the first counts[0] rows of expert 0, the first
// counts[1] of expert 1, ... A group of kGroupSize lanes finds where its n-th row lies.
#pragma once
#include <wavejit/core/integers.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

struct ExpertCounts {
  Integers counts;  // or null: all rows of every expert
  int64_t rows;     // that an expert has; counts are clamped to [0, rows]
  uint32_t experts;
  uint32_t each;  // experts of a lane, side by side

  // Where the lane reads first, or anything where it reads nothing.
  __device__ __forceinline__ const uint32_t* first() const {
    return counts.address(lane_in_group() * each);
  }
  __device__ __forceinline__ uint32_t operator[](uint32_t expert) const {
    if (expert >= experts) return 0;
    if (!counts.data) return static_cast<uint32_t>(rows);
    const int64_t count = counts[expert];
    return static_cast<uint32_t>(count < 0 ? 0 : count < rows ? count : rows);
  }
};

struct ExpertRow {
  uint32_t expert;
  uint32_t row;
};

// In every lane of the group; all of them call everything together, with the same arguments.
struct ExpertRows {
  ExpertCounts counts;
  uint32_t begin, end;  // of the rows of this lane's experts

  __device__ __forceinline__ explicit ExpertRows(const ExpertCounts& given) : counts(given) {
    uint32_t sum = 0;
    const uint32_t first = lane_in_group() * counts.each;
#pragma unroll 1
    for (uint32_t i = 0; i < counts.each; ++i) sum += counts[first + i];
    end = inclusive_scan<Sum>(sum);
    begin = end - sum;
  }

  // Whether there is an n-th row, and where it lies.
  __device__ __forceinline__ bool find(uint32_t n, ExpertRow& at) const {
    const int lane = count_lanes(end <= n);
    if (lane == kGroupSize) return false;
    at = {static_cast<uint32_t>(lane) * counts.each, n - broadcast(begin, lane)};
    if (counts.each > 1) at = among_experts_of_lane(at);
    return true;
  }

 private:
  // `at` is the first of a lane's experts and the row counted from that one's first.
  __device__ __forceinline__ ExpertRow among_experts_of_lane(ExpertRow at) const {
#pragma unroll 1
    while (true) {  // kGroupSize of them at a time
      const uint32_t count = counts[at.expert + lane_in_group()];
      const uint32_t ends = inclusive_scan<Sum>(count);
      const uint32_t all = broadcast(ends, kGroupSize - 1);
      if (at.row < all) {
        const int place = count_lanes(ends <= at.row);
        return {at.expert + static_cast<uint32_t>(place), at.row - broadcast(ends - count, place)};
      }
      at.row -= all;
      at.expert += kGroupSize;
    }
  }
};

}  // namespace wavejit
