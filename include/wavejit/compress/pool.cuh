// Softmax pooling of a window of candidates, one channel a lane slot:
//   out = sum_i value_i * w_i / sum_i w_i,  w_i = softmax_weight(score_i - m),  m = max_i score_i
// Both sums run over i = 0, 1, 2, ... from 0, the weighted one by fused multiply-adds; one
// division. A masked candidate has score -inf: its weight is exactly 0, and its value must be 0. If
// every candidate is masked the result is 0. A NaN score gives NaN.
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
    for (int i = 0; i < kWindow; ++i) top = maximum(top, window.scores[i].values[channel]);
    float weights = 0.0f;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      const float weight = softmax_weight(window.scores[i].values[channel] - top);
      weights = weights + weight;
      sum = fused_multiply_add(weight, window.values[i].values[channel], sum);
    }
    out.values[channel] = canonical_nan(weights == 0.0f ? 0.0f : sum / weights);
  }
  return out;
}

}  // namespace wavejit
