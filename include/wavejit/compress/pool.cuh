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

template <int kWindow, int kTile>
__device__ __forceinline__ Tile<kTile> softmax_pool(const Candidates<kWindow, kTile>& window) {
  Tile<kTile> out;
#pragma unroll
  for (int channel = 0; channel < kTile; ++channel) {
    float top = kLowestScore;
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      top = platform::maximum_or_nan(top, window.scores[i].values[channel]);
    }
    float weights = 0.0f;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      const float weight = softmax_weight(window.scores[i].values[channel] - top);
      weights = weights + weight;
      sum = fused_multiply_add(weight, window.values[i].values[channel], sum);
    }
    // Without a weight of 1 the top is no score: nothing but -inf was there, or +inf or NaN was.
    const float none = top == kLowestScore ? 0.0f : bit_cast<float>(0x7fc00000u);
    out.values[channel] = weights < 1.0f ? none : canonical_nan(sum / weights);
  }
  return out;
}

}  // namespace wavejit
