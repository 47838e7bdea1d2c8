// RMS normalisation of a row: y[d] = (x[d] * r) * w[d], r = 1 / sqrt(sum / D + eps), where the
// quotient, the sum, the root and the reciprocal are each rounded once, to nearest.
//
// The sum of squares belongs to the elements' indexes. Element groups of four: x0*x0, then a fused
// multiply-add of each of the next three, in order. The groups' sums meet in a balanced binary
// tree, neighbours first: groups 0 and 1, 2 and 3, ..., then those pairs, and so on. Where their
// number is no power of two the row counts as filled up with +0, which changes no bit. So any lane
// may hold 4, 8, 16, ... consecutive elements, and any group of lanes a row.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/tile.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

// The part of the tree that one lane's consecutive elements make.
template <int kItems>
__device__ __forceinline__ float sum_of_squares(const Tile<kItems>& x) {
  constexpr int kFour = 4;
  static_assert(kItems >= kFour && (kItems & (kItems - 1)) == 0);
  float sums[kItems / kFour];
#pragma unroll
  for (int g = 0; g < kItems / kFour; ++g) {
    const float* values = x.values + kFour * g;
    float sum = values[0] * values[0];
#pragma unroll
    for (int i = 1; i < kFour; ++i) sum = fused_multiply_add(values[i], values[i], sum);
    sums[g] = sum;
  }
#pragma unroll
  for (int step = 1; step < kItems / kFour; step *= 2) {
#pragma unroll
    for (int g = 0; g < kItems / kFour; g += 2 * step) sums[g] = sums[g] + sums[g + step];
  }
  return sums[0];
}

// Of a row held by kLanes lanes side by side; those beyond its end give 0. In every lane.
template <int kLanes>
__device__ __forceinline__ float row_sum(float lane_sum, Site at = Site::here()) {
  return reduce_sum<1, kLanes>(lane_sum, at);
}

// Shared memory of a row that kThreads lanes hold in kPasses parts: pass p of lane t has the
// elements from (p * kThreads + t) * kItems on, kItems a power of two.
template <int kThreads, int kPasses>
struct WideRowSum {
  static constexpr int kGroups = kThreads / kGroupSize;
  static constexpr int kPartials = kGroups * kPasses;
  static_assert(kThreads % kGroupSize == 0 && kPartials <= 2 * kGroupSize);
  float partials[kGroups > 1 ? kPartials : 1];
};

// In every lane; every lane of the block must call it. A block of one group meets no barrier.
template <int kThreads, int kPasses>
__device__ __forceinline__ float wide_row_sum(const float (&lane_sums)[kPasses],
                                              WideRowSum<kThreads, kPasses>& shared,
                                              Site at = Site::here()) {
  using Shape = WideRowSum<kThreads, kPasses>;
  constexpr int kGroups = Shape::kGroups;
  const int lane = static_cast<int>(lane_in_group());
  float found[kPasses];
#pragma unroll
  for (int p = 0; p < kPasses; ++p) found[p] = row_sum<kGroupSize>(lane_sums[p], at);
  float even = 0.0f, odd = 0.0f;  // of the lane's two partials; odd ones only where there are many
  constexpr bool kMany = Shape::kPartials > kGroupSize;
  if constexpr (kGroups == 1) {
#pragma unroll
    for (int p = 0; p < kPasses; ++p) even = lane == p ? found[p] : even;
  } else {
    const int group = static_cast<int>(thread_x()) / kGroupSize;
    if (lane == 0) {
#pragma unroll
      for (int p = 0; p < kPasses; ++p) shared.partials[p * kGroups + group] = found[p];
    }
    sync_block(at);
    const int first = kMany ? 2 * lane : lane;
    if (first < Shape::kPartials) even = shared.partials[first];
    if (kMany && first + 1 < Shape::kPartials) odd = shared.partials[first + 1];
  }
  return row_sum<kGroupSize>(kMany ? even + odd : even, at);
}

// Of a row that a block's kThreads lanes hold in one part each, through one float a group of them.
// Every lane of the block must call it, once.
template <int kThreads>
__device__ __forceinline__ float block_row_sum(float lane_sum,
                                               float (&partials)[kThreads / kGroupSize],
                                               Site at = Site::here()) {
  constexpr int kGroups = kThreads / kGroupSize;
  const float found = row_sum<kGroupSize>(lane_sum, at);
  if (thread_x() % kGroupSize == 0) partials[thread_x() / kGroupSize] = found;
  sync_block(at);
  float sums[kGroups];
#pragma unroll
  for (int g = 0; g < kGroups; ++g) sums[g] = partials[g];
#pragma unroll
  for (int step = 1; step < kGroups; step *= 2) {
#pragma unroll
    for (int g = 0; g < kGroups; g += 2 * step) sums[g] = sums[g] + sums[g + step];
  }
  return sums[0];
}

template <int kDim>
__device__ __forceinline__ float mean_square(float sum, float eps) {
  return sum / static_cast<float>(kDim) + eps;
}
template <int kDim>
__device__ __forceinline__ float inverse_rms(float sum, float eps) {
  return inverse_square_root(mean_square<kDim>(sum, eps));
}

// Without weights: y[d] = x[d] * r.
template <int kItems>
__device__ __forceinline__ Tile<kItems> normalise(const Tile<kItems>& x, float inverse) {
  Tile<kItems> y;
#pragma unroll
  for (int i = 0; i < kItems; ++i) y.values[i] = x.values[i] * inverse;
  return y;
}
template <int kItems>
__device__ __forceinline__ Tile<kItems> normalise(const Tile<kItems>& x, float inverse,
                                                  const Tile<kItems>& weight) {
  Tile<kItems> y;
#pragma unroll
  for (int i = 0; i < kItems; ++i) y.values[i] = (x.values[i] * inverse) * weight.values[i];
  return y;
}

}  // namespace wavejit
