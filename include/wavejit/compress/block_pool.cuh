// Softmax pooling of up to 128 candidates by a block, one slice of channels at a time; the formula
// is that of pool.cuh. The order of every sum is stated by candidate, so that it depends neither on
// the wave nor on how a request was cut into chunks:
//   run    4 consecutive candidates, left to right from 0
//   group  16 consecutive candidates with their own maximum m_g = max(-FLT_MAX, scores); its four
//          runs are added as (r0 + r2) + (r1 + r3)
//   all    M = max_g m_g, f_g = softmax_weight(m_g - M); weights = sum_g weights_g f_g and
//          sum = sum_g sum_g f_g, g = 0, 1, ... from 0 by fused multiply-adds; one division
// Absent candidates are masked (score -inf, value 0), which changes no sum. Every candidate masked:
// 0. A score of NaN or +inf gives NaN, through the maximum.
//
// Every row is read once and stays in registers: a lane holds one run of kTile channels, a group of
// lanes one group of candidates of a slice of kSliceLanes * kTile channels.
#pragma once
#include <wavejit/compress/pool.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

inline constexpr int kPoolRows = 128;
inline constexpr int kRunRows = 4;
inline constexpr int kPoolGroupRows = 16;
inline constexpr int kPoolGroups = kPoolRows / kPoolGroupRows;
inline constexpr int kSliceLanes = kGroupSize / (kPoolGroupRows / kRunRows);
inline constexpr int kPoolThreads = kPoolGroups * kGroupSize;

// NaN wins against a number.
struct MaxOrNan {
  __device__ __forceinline__ static float combine(float a, float b) {
    return platform::maximum_or_nan(a, b);
  }
};

// Where a lane's run lies in the window and its channels in the slice.
template <int kTile>
struct PoolLane {
  int first_row;
  int channel;

  __device__ __forceinline__ PoolLane() {
    const int lane = static_cast<int>(lane_in_group());
    const int group = static_cast<int>(thread_x()) / kGroupSize;
    first_row = group * kPoolGroupRows + lane / kSliceLanes * kRunRows;
    channel = lane % kSliceLanes * kTile;
  }
};

// What is known of some candidates of a channel: the largest score, the sum of the weights e^(score
// - top) and the sum of the weighted values.
struct PoolSums {
  float top;
  float weights;
  float sum;

  // These candidates, then others.
  __device__ __forceinline__ PoolSums followed_by(const PoolSums& others) const {
    const float highest = MaxOrNan::combine(top, others.top);
    const float mine = softmax_weight(top - highest);
    const float theirs = softmax_weight(others.top - highest);
    return {highest, fused_multiply_add(others.weights, theirs, weights * mine),
            fused_multiply_add(others.sum, theirs, sum * mine)};
  }

  // The mean of the values. Without a weight of 1 the top is no score: 0 where every candidate is
  // masked, NaN where one is NaN or +inf.
  __device__ __forceinline__ float mean() const {
    const float none = top == kLowestScore ? 0.0f : bit_cast<float>(0x7fc00000u);
    return weights < 1.0f ? none : canonical_nan(sum / weights);
  }
};

// The groups' sums of one slice. A block that pools one slice after another takes two in turn: then
// one barrier a slice is enough.
template <int kTile>
struct PoolGroups {
  static constexpr int kChannels = kSliceLanes * kTile;
  float tops[kPoolGroups][kChannels];
  float weights[kPoolGroups][kChannels];
  float sums[kPoolGroups][kChannels];

  // Adds the run that this lane holds; every lane of the block calls it. A barrier must follow.
  __device__ __forceinline__ void add_run(const Candidates<kRunRows, kTile>& run,
                                          Site at = Site::here()) {
    const unsigned group = thread_x() / kGroupSize;
    const bool writes = lane_in_group() < kSliceLanes;
    const int first = static_cast<int>(lane_in_group() % kSliceLanes) * kTile;
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      float top = kLowestScore;
#pragma unroll
      for (int i = 0; i < kRunRows; ++i) top = MaxOrNan::combine(top, run.scores[i].values[k]);
      top = reduce<MaxOrNan, kGroupSize, kSliceLanes>(top, at);
      float weight_sum = 0.0f;
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kRunRows; ++i) {
        const float weight = softmax_weight(run.scores[i].values[k] - top);
        weight_sum = weight_sum + weight;
        sum = fused_multiply_add(weight, run.values[i].values[k], sum);
      }
      weight_sum = reduce_sum<kGroupSize, kSliceLanes>(weight_sum, at);
      sum = reduce_sum<kGroupSize, kSliceLanes>(sum, at);
      if (writes) {
        tops[group][first + k] = top;
        weights[group][first + k] = weight_sum;
        sums[group][first + k] = sum;
      }
    }
  }

  // The sums of all groups, for one channel of the slice; any lane may call it.
  __device__ __forceinline__ PoolSums merged(int channel) const {
    PoolSums all{kLowestScore, 0.0f, 0.0f};
#pragma unroll
    for (int g = 0; g < kPoolGroups; ++g) all.top = MaxOrNan::combine(all.top, tops[g][channel]);
#pragma unroll
    for (int g = 0; g < kPoolGroups; ++g) {
      const float factor = softmax_weight(tops[g][channel] - all.top);
      all.weights = fused_multiply_add(weights[g][channel], factor, all.weights);
      all.sum = fused_multiply_add(sums[g][channel], factor, all.sum);
    }
    return all;
  }
};

// score + ape of the lane's run, in fp32; the bias was loaded before.
template <int kTile>
__device__ __forceinline__ void add_bias(Candidates<kRunRows, kTile>& run,
                                         const Tile<kTile> (&bias)[kRunRows]) {
#pragma unroll
  for (int i = 0; i < kRunRows; ++i) {
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      run.scores[i].values[k] = run.scores[i].values[k] + bias[i].values[k];
    }
  }
}

}  // namespace wavejit
