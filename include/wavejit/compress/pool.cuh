// Softmax pooling of a window of candidates, one channel a lane slot:
//   out = sum_i value_i * w_i / sum_i w_i,  w_i = softmax_weight(score_i - m),  m = max_i score_i
// Both sums run over i = 0, 1, 2, ... from 0, the weighted one by fused multiply-adds; one
// division. A masked candidate has score -inf and value 0: with its weight of 2^-143 it changes
// nothing. If every score is -inf the result is 0. A score of NaN or +inf gives NaN.
#pragma once
#include <wavejit/core/math.cuh>
#include <wavejit/core/tile.cuh>

namespace wavejit {

inline constexpr float kLowestScore = -0x1.fffffep+127f;  // -FLT_MAX, so that m is finite

// The candidates of one entry: a lane's channels of every token in the window.
template <int kWindow, int kTile>
struct Candidates {
  Tile<kTile> values[kWindow];
  Tile<kTile> scores[kWindow];

  __device__ __forceinline__ void mask(int i) {
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      values[i].values[k] = 0.0f;
      scores[i].values[k] = -__builtin_inff();  // a real candidate may have -FLT_MAX
    }
  }
};

// What a channel's candidates come to before the division.
struct PooledSums {
  float top, weights, values;

  // Neither a NaN, an infinity nor next to 0, and so all but a few: one branch for all of a lane's.
  __device__ __forceinline__ bool are_ordinary() const {
    const float size = __builtin_fabsf(values);
    return (weights >= 1.0f) & (size >= 0x1p-80f) & (size <= 0x1.fffffep+127f);
  }
  __device__ __forceinline__ float mean() const {
    // Without a weight of 1 the top is no score: nothing but -inf was there, or +inf or NaN was.
    const float none = top == kLowestScore ? 0.0f : bit_cast<float>(0x7fc00000u);
    return weights < 1.0f ? none : canonical_nan(values / weights);
  }
};

template <int kWindow, int kTile>
__device__ __forceinline__ PooledSums pooled_sums(const Candidates<kWindow, kTile>& window,
                                                  int channel) {
  PooledSums sums{kLowestScore, 0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < kWindow; ++i) {
    sums.top = platform::maximum_or_nan(sums.top, window.scores[i].values[channel]);
  }
#pragma unroll
  for (int i = 0; i < kWindow; ++i) {
    const float weight = softmax_weight(window.scores[i].values[channel] - sums.top);
    sums.weights = i == 0 ? weight : sums.weights + weight;  // is no -0
    sums.values = fused_multiply_add(weight, window.values[i].values[channel], sums.values);
  }
  return sums;
}

template <int kWindow, int kTile>
__device__ __forceinline__ Tile<kTile> softmax_pool(const Candidates<kWindow, kTile>& window) {
  PooledSums sums[kTile];
  bool are_ordinary = platform::kReciprocalProven;
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    sums[k] = pooled_sums(window, k);
    are_ordinary &= sums[k].are_ordinary();
  }
  Tile<kTile> out;
  if (__builtin_expect(are_ordinary, true)) {
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
      out.values[k] = ordinary_quotient(sums[k].values, sums[k].weights);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kTile; ++k) out.values[k] = sums[k].mean();
  }
  return out;
}

}  // namespace wavejit
