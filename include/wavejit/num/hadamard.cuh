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

// Lane `lane` of the transform's kLanes, which lie side by side and all take part, has in piece p
// the kItems elements from (p * kLanes + lane) * kItems on.
template <Together kWho = Together::kGroup, int kItems, int kPieces>
__device__ __forceinline__ void hadamard(Tile<kItems> (&x)[kPieces], int lane,
                                         Site at = Site::here()) {
  constexpr int kLanes = kHadamardSize / (kItems * kPieces);
  static_assert(kLanes > 0 && kLanes * kItems * kPieces == kHadamardSize);
#pragma unroll
  for (int step = 1; step < kItems; step *= 2) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      float* values = x[p].values;
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        if (i & step) continue;
        const float sum = values[i] + values[i + step];
        values[i + step] = values[i] - values[i + step];
        values[i] = sum;
      }
    }
  }
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) {
    const float sign = (lane & offset) != 0 ? -1.0f : 1.0f;  // exact: one rounding, the sum's
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        const float other = shuffle_xor<kLanes, kWho>(x[p].values[i], offset, at);
        x[p].values[i] = fused_multiply_add(x[p].values[i], sign, other);
      }
    }
  }
#pragma unroll
  for (int step = 1; step < kPieces; step *= 2) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (p & step) continue;
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        const float sum = x[p].values[i] + x[p + step].values[i];
        x[p + step].values[i] = x[p].values[i] - x[p + step].values[i];
        x[p].values[i] = sum;
      }
    }
  }
  constexpr float kFactor = 0x1.6a09e6p-4f;  // 128^(-1/2)
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) x[p].values[i] = x[p].values[i] * kFactor;
  }
}

// The same where a lane's elements are all consecutive.
template <int kItems>
__device__ __forceinline__ Tile<kItems> hadamard(Tile<kItems> x, int lane, Site at = Site::here()) {
  Tile<kItems> pieces[1] = {x};
  hadamard(pieces, lane, at);
  return pieces[0];
}

}  // namespace wavejit
