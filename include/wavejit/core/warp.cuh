// Reductions, scans, broadcasts and copies over logical groups of lanes. A group is kGroupSize
// lanes on every machine, or any power of two up to the wave: results depend on the group's width,
// which the kernel names, and never on the wave's.
#pragma once
#include <wavejit/core/vec.cuh>

namespace wavejit {

inline constexpr int kGroupSize = 32;

struct Sum {
  template <class T>
  __device__ __forceinline__ static T combine(T a, T b) {
    return a + b;
  }
};
// NaN loses against a number.
struct Max {
  template <class T>
  __device__ __forceinline__ static T combine(T a, T b) {
    return a > b || b != b ? a : b;
  }
};
struct Min {
  template <class T>
  __device__ __forceinline__ static T combine(T a, T b) {
    return a < b || b != b ? a : b;
  }
};

__device__ __forceinline__ unsigned lane_in_group(int width = kGroupSize) {
  return thread_x() % static_cast<unsigned>(width);
}

// Combines, in every lane, the lanes whose index differs from its own only in the bits between kTo
// and kFrom: reduce<Op, W, 1> over groups of W consecutive lanes with offsets W/2, ..., 1;
// reduce<Op, 1, W> the same with offsets 1, ..., W/2; reduce<Op, W, S> over every S-th lane of W.
template <class Op, int kFrom = kGroupSize, int kTo = 1, Together kWho = Together::kGroup, class T>
__device__ __forceinline__ T reduce(T value, Site at = Site::here()) {
  constexpr int kWidth = kFrom > kTo ? kFrom : kTo;
  constexpr int kStep = kFrom > kTo ? kTo : kFrom;
  static_assert((kWidth & (kWidth - 1)) == 0 && (kStep & (kStep - 1)) == 0 && kStep > 0);
  if constexpr (kFrom > kTo) {
#pragma unroll
    for (int offset = kWidth / 2; offset >= kStep; offset /= 2) {
      value = Op::combine(value, shuffle_xor<kWidth, kWho>(value, offset, at));
    }
  } else {
#pragma unroll
    for (int offset = kStep; offset < kWidth; offset *= 2) {
      value = Op::combine(value, shuffle_xor<kWidth, kWho>(value, offset, at));
    }
  }
  return value;
}

// The same of several values at once, a power of two of them in each of kLanes lanes: what comes
// back is that of value lane % kCount, as by reduce<Op, kLanes, 1>. In the first exchanges each
// lane gives away half of what it still has, so that neighbours go on with one value each.
template <class Op, int kLanes, Together kWho, int kCount, class T>
__device__ __forceinline__ T reduce_shared(T (&values)[kCount], Site at = Site::here()) {
  static_assert((kCount & (kCount - 1)) == 0 && kCount <= kLanes);
#pragma unroll
  for (int step = 1; step < kCount; step *= 2) {
    const bool is_odd = thread_x() / static_cast<unsigned>(step) % 2 != 0;
#pragma unroll
    for (int i = 0; i < kCount; i += 2 * step) {
      const T first = values[i], second = values[i + step];
      const T given = shuffle_xor<kLanes, kWho>(is_odd ? first : second, step, at);
      values[i] = Op::combine(is_odd ? second : first, given);
    }
  }
  return reduce<Op, kCount, kLanes, kWho>(values[0], at);
}

template <int kFrom = kGroupSize, int kTo = 1, class T>
__device__ __forceinline__ T reduce_sum(T value, Site at = Site::here()) {
  return reduce<Sum, kFrom, kTo>(value, at);
}
template <int kFrom = kGroupSize, int kTo = 1, class T>
__device__ __forceinline__ T reduce_max(T value, Site at = Site::here()) {
  return reduce<Max, kFrom, kTo>(value, at);
}
template <int kFrom = kGroupSize, int kTo = 1, class T>
__device__ __forceinline__ T reduce_min(T value, Site at = Site::here()) {
  return reduce<Min, kFrom, kTo>(value, at);
}

// The sum over the group of an integer, whose sums have no order: one instruction where there is
// one.
__device__ __forceinline__ uint32_t sum_in_group(uint32_t value, Site at = Site::here()) {
  if constexpr (platform::kHasGroupSum) {
    return platform::group_sum(value);
  } else {
    return reduce_sum(value, at);
  }
}

// The combination of this lane and all before it in its segment of kWidth lanes.
template <class Op, int kWidth = kGroupSize, class T>
__device__ __forceinline__ T inclusive_scan(T value, Site at = Site::here()) {
  const int lane = static_cast<int>(lane_in_group(kWidth));
#pragma unroll
  for (int offset = 1; offset < kWidth; offset *= 2) {
    const T other = shuffle_up<kWidth>(value, offset, at);
    if (lane >= offset) value = Op::combine(other, value);
  }
  return value;
}

// The value of lane `source` of the segment.
template <int kWidth = kGroupSize, class T>
__device__ __forceinline__ T broadcast(T value, int source, Site at = Site::here()) {
  return shuffle<kWidth>(value, source, at);
}

// How many lanes of the group say yes, and how many of those lie below this one.
template <int kWidth = kGroupSize>
__device__ __forceinline__ int count_lanes(bool value, Site at = Site::here()) {
  return __builtin_popcountll(ballot<kWidth>(value, at));
}
template <int kWidth = kGroupSize>
__device__ __forceinline__ int count_lanes_below(bool value, Site at = Site::here()) {
  const uint64_t below = (uint64_t{1} << lane_in_group(kWidth)) - 1;
  return __builtin_popcountll(ballot<kWidth>(value, at) & below);
}

}  // namespace wavejit
