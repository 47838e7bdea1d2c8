// Softmax pooling of up to 128 candidates by a block, one slice of channels at a time; the formula
// is that of pool.cuh. The order of every sum is stated by candidate, so that it depends neither on
// the wave nor on how a request was cut into chunks:
//   group  16 consecutive candidates with their own maximum m_g = max(-FLT_MAX, scores); weights
//   and
//          weighted values are added left to right from 0, as in pool.cuh
//   all    M = max_g m_g, f_g = softmax_weight(m_g - M); weights = sum_g weights_g f_g and
//          sum = sum_g sum_g f_g, g = 0, 1, ... from 0 by fused multiply-adds; one division
// Absent candidates are masked (score -inf, value 0), which changes no sum. Every candidate masked:
// 0. A score of NaN or +inf gives NaN, through the maximum.
//
// Every row is read once and stays in registers: a lane holds kTile channels of a group's 16
// candidates and needs no other lane for them; 32 lanes side by side hold a slice, and the block's
// eight groups of lanes the eight groups of candidates.
#pragma once
#include <wavejit/compress/pool.cuh>
#include <wavejit/core/warp.cuh>

namespace wavejit {

inline constexpr int kPoolRows = 128;
inline constexpr int kPoolGroupRows = 16;
inline constexpr int kPoolGroups = kPoolRows / kPoolGroupRows;
inline constexpr int kPoolThreads = kPoolGroups * kGroupSize;

// 4 bytes a lane and row: measured on H200, where wider loads leave too few lanes on the way.
template <class Element>
inline constexpr int kPoolTile = sizeof(Element) < 4 ? 2 : 1;

// Where a lane's candidates lie in the window and its channels in the slice.
template <int kTile>
struct PoolLane {
  static constexpr int kSlice = kGroupSize * kTile;  // channels of a block
  int first_row = static_cast<int>(thread_x() / kGroupSize % kPoolGroups * kPoolGroupRows);
  int channel = static_cast<int>(lane_in_group()) * kTile;
};

// What is known of some candidates of a channel: the largest score, the sum of the weights e^(score
// - top) and the sum of the weighted values.
struct PoolSums {
  float top;
  float weights;
  float sum;

  // These candidates, then others.
  __device__ __forceinline__ PoolSums followed_by(const PoolSums& others) const {
    const float highest = platform::maximum_or_nan(top, others.top);
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

// The groups' sums of one slice.
template <int kTile>
struct PoolGroups {
  static constexpr int kChannels = PoolLane<kTile>::kSlice;
  float tops[kPoolGroups][kChannels];
  float weights[kPoolGroups][kChannels];
  float sums[kPoolGroups][kChannels];

  // Adds the candidates that this lane holds. A barrier must follow.
  __device__ __forceinline__ void add(const Candidates<kPoolGroupRows, kTile>& candidates,
                                      const PoolLane<kTile>& lane) {
    const int group = lane.first_row / kPoolGroupRows;
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      float top = kLowestScore;
#pragma unroll
      for (int i = 0; i < kPoolGroupRows; ++i) {
        top = platform::maximum_or_nan(top, candidates.scores[i].values[k]);
      }
      float weight_sum = 0.0f;
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kPoolGroupRows; ++i) {
        const float weight = softmax_weight(candidates.scores[i].values[k] - top);
        weight_sum = weight_sum + weight;
        sum = fused_multiply_add(weight, candidates.values[i].values[k], sum);
      }
      tops[group][lane.channel + k] = top;
      weights[group][lane.channel + k] = weight_sum;
      sums[group][lane.channel + k] = sum;
    }
  }

  // The sums of all groups, for one channel of the slice; any lane may call it.
  __device__ __forceinline__ PoolSums merged(int channel) const {
    PoolSums all{kLowestScore, 0.0f, 0.0f};
#pragma unroll
    for (int g = 0; g < kPoolGroups; ++g)
      all.top = platform::maximum_or_nan(all.top, tops[g][channel]);
#pragma unroll
    for (int g = 0; g < kPoolGroups; ++g) {
      const float factor = softmax_weight(tops[g][channel] - all.top);
      all.weights = fused_multiply_add(weights[g][channel], factor, all.weights);
      all.sum = fused_multiply_add(sums[g][channel], factor, all.sum);
    }
    return all;
  }
};

}  // namespace wavejit
