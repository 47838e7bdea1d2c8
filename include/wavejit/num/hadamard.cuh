// The orthonormal Hadamard transform of 128 elements in Sylvester's order:
//   y[i] = 128^(-1/2) * sum over j of (-1)^popcount(i & j) * x[j]
//
// Seven stages, s = 1, 2, 4, ..., 64: of every pair (i, i + s) with bit s of i clear, the first
// becomes x[i] + x[i + s] and the second x[i] - x[i + s]; the factor comes last. Each of these is
// one fp32 operation between named elements, so neither the lanes nor their elements matter.
#pragma once
#include <wavejit/core/tile.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

inline constexpr int kHadamardSize = 128;

// A lane holds kItems consecutive elements; the 128 / kItems lanes of a transform lie side by side
// and all take part. `lane` is this one's number among them.
template <int kItems>
__device__ __forceinline__ Tile<kItems> hadamard(Tile<kItems> x, int lane, Site at = Site::here()) {
  constexpr int kLanes = kHadamardSize / kItems;
  static_assert(kItems > 0 && kLanes * kItems == kHadamardSize);
#pragma unroll
  for (int step = 1; step < kItems; step *= 2) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (i & step) continue;
      const float sum = x.values[i] + x.values[i + step];
      x.values[i + step] = x.values[i] - x.values[i + step];
      x.values[i] = sum;
    }
  }
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) {
    const bool is_second = (lane & offset) != 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const float other = shuffle_xor<kLanes>(x.values[i], offset, at);
      x.values[i] = is_second ? other - x.values[i] : x.values[i] + other;
    }
  }
  constexpr float kFactor = 0x1.6a09e6p-4f;  // 128^(-1/2)
#pragma unroll
  for (int i = 0; i < kItems; ++i) x.values[i] = x.values[i] * kFactor;
  return x;
}

}  // namespace wavejit
